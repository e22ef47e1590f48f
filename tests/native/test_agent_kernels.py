import numpy as np
import pytest
from scipy.sparse import csr_array

from mast_edge.dense_agent import assemble, forward
from mast_edge.kernel_costs import TABLES
from mast_edge.layers import make_layer
from mast_edge.native import _core
from mast_edge.native._core import AgentCell, AgentModel
from mast_edge.native_agent import add_layer
from mast_edge.spec import LAYERS, AgentSpec
from tests.agents import MAP_3M, TINY, random_agent

ODD = AgentSpec(obs_dim=3, n_actions=70, n_agents=2, hidden_dim=37)
HUNDRED = AgentSpec(obs_dim=300, n_actions=6, n_agents=1, hidden_dim=100)


def native(spec, weights, masks, table):
    model = AgentModel(spec.obs_dim, spec.n_actions, spec.n_agents, spec.hidden_dim)
    for name in LAYERS:
        layer = make_layer(name, weights[f"{name}.weight"], weights[f"{name}.bias"], masks.get(name))
        add_layer(model, name, layer, table)
    return model


def inputs_of(spec, n, seed=0):
    rng = np.random.default_rng(seed)
    obs = np.where(rng.random((n, spec.obs_dim)) < 0.5, rng.normal(size=(n, spec.obs_dim)), 0).astype(
        np.float32
    )
    last = rng.integers(-1, spec.n_actions, n)
    ids = rng.integers(0, spec.n_agents, n)
    hidden = np.tanh(rng.normal(size=(n, spec.hidden_dim))).astype(np.float32)
    return obs, last, ids, hidden


def step_many(model, spec, obs, last, ids, hidden):
    after, q = hidden.copy(), np.empty((len(obs), spec.n_actions), np.float32)
    model.step_many(obs, last, ids, after, q)
    return q, after


@pytest.mark.parametrize("spec", [TINY, MAP_3M, ODD, HUNDRED])
@pytest.mark.parametrize("sparsity", [0.0, 0.5, 0.9])
def test_close_to_float64_and_the_same_bits_from_every_table(spec, sparsity):
    weights, masks = random_agent(spec, sparsity)
    inputs = inputs_of(spec, 20)
    exact = {name: array.astype(np.float64) for name, array in weights.items()}
    rows = assemble(spec, *inputs[:3]).astype(np.float64)
    q64, hidden64 = forward(
        lambda name, x: x @ exact[f"{name}.weight"].T + exact[f"{name}.bias"],
        rows,
        inputs[3].astype(np.float64),
    )
    q, hidden = step_many(native(spec, weights, masks, "dense"), spec, *inputs)
    assert np.abs(q - q64).max() < 5e-6 * max(1, np.abs(q64).max())
    assert np.abs(hidden - hidden64).max() < 2e-6
    for table in TABLES:
        same_q, same_hidden = step_many(native(spec, weights, masks, table), spec, *inputs)
        np.testing.assert_array_equal(same_q, q)
        np.testing.assert_array_equal(same_hidden, hidden)


@pytest.mark.parametrize("pattern", ["element", "8x1", "4x1"])
@pytest.mark.parametrize("spec", [MAP_3M, ODD])
def test_the_same_bits_from_every_table_on_every_instruction_set(spec, pattern):
    weights, masks = random_agent(spec, 0.85, pattern=pattern)
    inputs, found, before = inputs_of(spec, 12), [], _core.kernel_path()
    for instructions in _core.instruction_sets():
        _core.use_instruction_set(instructions)
        for table in TABLES:
            found.append(step_many(native(spec, weights, masks, table), spec, *inputs))
    _core.use_instruction_set(before)
    for q, hidden in found[1:]:
        np.testing.assert_array_equal(q, found[0][0])
        np.testing.assert_array_equal(hidden, found[0][1])


def test_agrees_with_scipy_csr():
    weights, masks = random_agent(MAP_3M, 0.95)
    inputs = inputs_of(MAP_3M, 8)
    sparse = {name: csr_array(weights[f"{name}.weight"]) for name in LAYERS}
    q, hidden = forward(
        lambda name, x: (sparse[name] @ x.T).T + weights[f"{name}.bias"],
        assemble(MAP_3M, *inputs[:3]),
        inputs[3],
    )
    mine_q, mine_hidden = step_many(native(MAP_3M, weights, masks, "csr"), MAP_3M, *inputs)
    np.testing.assert_allclose(mine_q, q, atol=2e-5)
    np.testing.assert_allclose(mine_hidden, hidden, atol=2e-6)


def test_gru_cell_by_hand():
    """algorithms.md, check 10, inside an agent: fc1 passes 0.5 on, fc2 shows h'."""
    model = AgentModel(1, 1, 1, 1)
    rows = {
        "fc1": ([[1, 0, 0]], [0]),
        "gru_ih": ([[0.3], [-0.6], [0.9]], [0.1, 0.2, -0.1]),
        "gru_hh": ([[-0.4], [0.7], [0.5]], [0.05, -0.15, 0.25]),
        "fc2": ([[1]], [0]),
    }
    for name, (weight, bias) in rows.items():
        add_layer(model, name, make_layer("fc1", np.float32(weight), np.float32(bias), None), "csr")
    hidden, q = np.float32([[-0.2]]), np.empty((1, 1), np.float32)
    model.step_many(np.float32([[0.5]]), np.array([-1]), np.array([0]), hidden, q)
    assert abs(hidden[0, 0] - 0.1654511518684013) < 1e-6
    assert q[0, 0] == hidden[0, 0]


@pytest.mark.parametrize(
    ("gate", "exact", "error"),
    [(2, np.tanh, 3.4e-7 + 1.9e-7), (1, lambda x: 1 / (1 + np.exp(-x)), 1.9e-7)],
)
def test_activations_stay_within_their_stated_error(gate, exact, error, instruction_set):
    """fc1 passes x and -x on. With h = 0 and a closed update gate, itself a sigmoid, h' = tanh(x); with
    h = 1 and a new gate of 0, h' = sigmoid(x)."""
    x = np.linspace(-12, 12, 200_001, dtype=np.float32)[:, None]
    update = -100.0 if gate == 2 else 0.0
    gates = np.zeros((6, 2), np.float32)
    gates[2 * gate] = [1, -1]
    rows = {
        "fc1": ([[1, 0, 0], [-1, 0, 0]], [0, 0]),
        "gru_ih": (gates, [0, 0, update, update, 0, 0]),
        "gru_hh": (np.zeros((6, 2)), np.zeros(6)),
        "fc2": ([[1, 0]], [0]),
    }
    model = AgentModel(1, 1, 1, 2)
    for name, (weight, bias) in rows.items():
        add_layer(model, name, make_layer(name, np.float32(weight), np.float32(bias), None), "csr")
    hidden, q = np.full((len(x), 2), 2 - gate, np.float32), np.empty((len(x), 1), np.float32)
    ids = np.zeros(len(x), np.int64)
    model.step_many(x, ids - 1, ids, hidden, q)
    assert np.abs(q[:, 0] - exact(x[:, 0].astype(np.float64))).max() < error


def test_a_batch_is_the_same_bits_as_one_by_one():
    weights, masks = random_agent(MAP_3M, 0.9)
    model = native(MAP_3M, weights, masks, "dense")
    inputs = inputs_of(MAP_3M, 11)
    q, hidden = step_many(model, MAP_3M, *inputs)
    for i in range(11):
        one_q, one_hidden = step_many(model, MAP_3M, *(array[i : i + 1] for array in inputs))
        np.testing.assert_array_equal(one_q[0], q[i])
        np.testing.assert_array_equal(one_hidden[0], hidden[i])


def test_tables_out_of_bounds_are_refused():
    model = AgentModel(2, 2, 1, 1)
    one, bias = np.ones(1, np.float32), np.zeros(1, np.float32)

    def u32(*values):
        return np.array(values, np.uint32)

    with pytest.raises(ValueError, match="stay below 5"):
        model.add("fc1", one, u32(5), u32(0, 1), bias, "csr")
    with pytest.raises(ValueError, match="run from 0"):
        model.add("fc1", one, u32(1), u32(0, 2), bias, "csr")
    with pytest.raises(ValueError, match="must have 1 rows"):
        model.add("fc1", one, u32(1), u32(0, 1, 1), np.zeros(2, np.float32), "csr")
    with pytest.raises(ValueError, match="as many as values"):
        model.add("fc1", one, u32(), u32(0, 1), bias, "csr")
    with pytest.raises(ValueError, match="rise inside a row"):
        model.add("fc1", np.ones(2, np.float32), u32(1, 1), u32(0, 2), bias, "csr")
    with pytest.raises(ValueError, match="fc1, gru_ih"):
        model.add("fc9", one, u32(1), u32(0, 1), bias, "csr")
    with pytest.raises(ValueError, match="dense, csr, 8x1 or 4x1; got coo"):
        model.add("fc1", one, u32(1), u32(0, 1), bias, "coo")
    with pytest.raises(ValueError, match="pointers must not fall"):
        AgentModel(1, 1, 1, 2).add("gru_ih", one, u32(0), u32(0, 9, 0, 1, 1, 1, 1), np.zeros(6, "f"), "csr")
    with pytest.raises(ValueError, match="fc1 must be added first"):
        AgentCell(model, 0)
    with pytest.raises(ValueError, match=r"1\.\.65536"):
        AgentModel(0, 1, 1, 1)


def test_batches_out_of_bounds_are_refused():
    weights, masks = random_agent(TINY, 0.5)
    model = native(TINY, weights, masks, "dense")
    obs, last, ids, hidden = inputs_of(TINY, 4)
    q = np.zeros((4, 5), np.float32)
    for wrong in (
        (obs, last + 5, ids, hidden, q),
        (obs, last, ids - 3, hidden, q),
        (obs[:, :-1].copy(), last, ids, hidden, q),
        (obs, last, ids, hidden[:3], q),
        (obs, last, ids, hidden, q[:, :4].copy()),
    ):
        with pytest.raises(ValueError, match="step_many"):
            model.step_many(*wrong)
