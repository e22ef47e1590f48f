"""The counters of the agent's kernels against counts made by other means."""

import threading

import numpy as np
import pytest

from mast_edge.kernel_costs import TABLES
from mast_edge.native._core import AgentCell, AgentModel, agent_compiler
from mast_edge.spec import LAYERS, AgentSpec

SPEC = AgentSpec(obs_dim=5, n_actions=20, n_agents=2, hidden_dim=9)  # padded: H 16, 3H 32, A 32


def whole_numbers(spec, seed=0, density=0.5):
    """Weights and biases that are small integers, so that every sum is exact."""
    rng = np.random.default_rng(seed)
    weights = {}
    for name, shape in spec.layer_shapes().items():
        kept = rng.random(shape) < density
        weights[name] = np.where(kept, rng.choice([-2, -1, 1, 2], shape), 0).astype(np.float32)
        weights[f"{name}.bias"] = rng.integers(-2, 3, shape[0]).astype(np.float32)
    return weights


def model_of(spec, weights, table):
    model = AgentModel(spec.obs_dim, spec.n_actions, spec.n_agents, spec.hidden_dim)
    for name in LAYERS:
        rows, columns = np.nonzero(weights[name])
        indptr = np.searchsorted(rows, np.arange(len(weights[name]) + 1)).astype(np.uint32)
        values = weights[name][rows, columns]
        model.add(name, values, columns.astype(np.uint32), indptr, weights[f"{name}.bias"], table)
    return model


def batch(spec, n, seed=1):
    rng = np.random.default_rng(seed)
    obs = rng.integers(-1, 2, (n, spec.obs_dim)).astype(np.float32)
    last = np.where(np.arange(n) % 4 == 0, -1, rng.integers(0, spec.n_actions, n))
    return obs, last, rng.integers(0, spec.n_agents, n)


def step(model, spec, obs, last, ids):
    hidden = np.zeros((len(obs), spec.hidden_dim), np.float32)
    q = np.empty((len(obs), spec.n_actions), np.float32)
    model.step_many(obs, last, ids, hidden, q)
    return hidden, q


def test_dense_tables_multiply_padded_rows_by_inputs_that_are_not_zero():
    weights = whole_numbers(SPEC)
    model = model_of(SPEC, weights, table="dense")
    obs, last, ids = batch(SPEC, 40)
    rows = np.zeros((40, SPEC.input_dim), np.float32)
    rows[:, :5] = obs
    acted = last >= 0
    rows[np.flatnonzero(acted), 5 + last[acted]] = 1
    rows[np.arange(40), 25 + ids] = 1
    left = np.count_nonzero(rows @ weights["fc1"].T + weights["fc1.bias"] > 0)
    step(model, SPEC, obs, last, ids)
    assert 0 < acted.sum() < 40
    assert 0 < left < 40 * 9
    assert model.work == {
        "steps": 40,
        "fc1": 16 * np.count_nonzero(obs),
        "gru_ih": 32 * left,
        "gru_hh": 40 * 32 * 9,
        "fc2": 40 * 32 * 9,
        "one_hot_adds": 16 * (40 + acted.sum()),
        "relus": 40 * 16,
        "activations": 40 * 3 * 16,
    }


def test_csr_tables_multiply_each_stored_weight_once():
    weights = whole_numbers(SPEC)
    model = model_of(SPEC, weights, table="csr")
    step(model, SPEC, *batch(SPEC, 7))
    found = model.work
    assert found["fc1"] == 7 * np.count_nonzero(weights["fc1"][:, :5])
    for name in LAYERS[1:]:
        assert found[name] == 7 * np.count_nonzero(weights[name])


@pytest.mark.parametrize("rows", [1, 15, 16, 17, 63, 64, 65, 130])
def test_dense_rows_are_padded_to_sixteen(rows):
    spec = AgentSpec(2, rows, 1, 3)
    model = model_of(spec, whole_numbers(spec, density=1.0), table="dense")
    step(model, spec, np.ones((1, 2), np.float32), np.array([-1]), np.array([0]))
    assert model.work["fc2"] == -(-rows // 16) * 16 * 3


def test_a_cell_counts_what_it_runs_and_nothing_else():
    model = model_of(SPEC, whole_numbers(SPEC), table="csr")
    cell = AgentCell(model, 1)
    obs, avail = np.ones(5, np.float32), np.ones(20, np.uint8)
    assert set(cell.work.values()) == {0}
    cell.act(obs, avail, True)
    once = cell.work
    cell.peek(obs, np.empty(20, np.float32))
    assert (once["steps"], cell.work["steps"]) == (1, 2)
    assert (once["one_hot_adds"], cell.work["one_hot_adds"]) == (16, 16 + 32)
    assert cell.work["gru_hh"] == 2 * once["gru_hh"] > 0
    assert cell.act(obs, np.zeros(20, np.uint8), True) == -1
    cell.reset()
    assert cell.work["steps"] == 2
    assert set(model.work.values()) == {0}


def test_threads_report_every_step():
    model = model_of(SPEC, whole_numbers(SPEC), table="dense")
    obs, last, ids = batch(SPEC, 3)

    def run():
        for _ in range(200):
            step(model, SPEC, obs, last, ids)

    threads = [threading.Thread(target=run) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert model.work["steps"] == 4 * 200 * 3
    assert model.work["fc1"] == 4 * 200 * 16 * np.count_nonzero(obs)


@pytest.mark.parametrize("table", TABLES)
def test_a_layer_alone_gives_the_bits_of_a_step(table):
    weights = whole_numbers(SPEC)
    model = model_of(SPEC, weights, table)
    hidden, q = step(model, SPEC, *batch(SPEC, 6))
    before, again = model.work, np.empty_like(q)
    model.layer_many("fc2", hidden, again)
    np.testing.assert_array_equal(again, q)
    after = model.work
    assert after["fc2"] == 2 * before["fc2"]
    assert {k: v for k, v in after.items() if k != "fc2"} == {k: v for k, v in before.items() if k != "fc2"}
    obs, first = batch(SPEC, 6)[0], np.empty((6, 9), np.float32)
    model.layer_many("fc1", obs, first)
    np.testing.assert_array_equal(first, obs @ weights["fc1"][:, :5].T + weights["fc1.bias"])


def test_a_layer_alone_refuses_other_shapes():
    model = model_of(SPEC, whole_numbers(SPEC), table="dense")
    right = np.zeros((4, 9), np.float32)
    with pytest.raises(ValueError, match="layer_many"):
        model.layer_many("fc2", right, np.zeros((4, 19), np.float32))
    with pytest.raises(ValueError, match="layer_many"):
        model.layer_many("fc1", np.zeros((4, 27), np.float32), right)
    with pytest.raises(ValueError, match="fc1, gru_ih"):
        model.layer_many("fc9", right, right)
    with pytest.raises(ValueError, match="added first"):
        AgentModel(5, 20, 2, 9).layer_many("fc2", right, np.zeros((4, 20), np.float32))


def test_the_build_says_what_it_is():
    assert agent_compiler().split()[0] in ("gcc", "clang", "another")
