"""One update: its order, what it keeps, and that it is the same every time (algorithms.md 5 to 7)."""

from typing import Any

import numpy as np
import pytest
import torch

from mast_edge.topology import layer_blocks, layer_pattern
from mast_edge.train.learners.torch import TorchLearner
from tests.train.algos.reference import doubles, q_tot, unrolled, vector
from tests.train.algos.toy import HandMade, as_tensors, make_learner, packed, precision, random_episodes

ALGORITHMS = ["qmix", "ow_qmix", "res", "vdn"]
EVERY_TIME = {"interval": 1, "drop_fraction": 0.4}
STILL = {"lr": 1e-12}
"""A step that moves no weight, but fills v."""

# Check 6 of algorithms.md 13.
WEIGHT = [[0.5, -0.1, 0, 0.3], [0, -0.7, 0.2, 0]]
MASK = [[1, 1, 0, 1], [0, 1, 1, 0]]
GRADIENT = [[0.2, 0.9, 0.4, 0.1], [0.8, 0.3, 0.05, 0.6]]
NEXT_MASK = [[1, 1, 0, 1], [1, 1, 0, 0]]


def trained(learner: TorchLearner, updates: int, seed: int = 9) -> TorchLearner:
    rng = np.random.default_rng(seed)
    for t_env in range(1, updates + 1):
        learner.update(random_episodes(rng, [5, 8, 3]), t_env)
    return learner


def test_evolution_of_check_6_within_an_update() -> None:
    """(0,1) is dropped and grown again: it keeps weight and v. (1,0) starts at 0 with v 0; (1,2) is gone."""
    made = HandMade(WEIGHT, MASK, topology=EVERY_TIME, optim=STILL)
    made.update(GRADIENT)
    assert made.mask == NEXT_MASK
    expected = torch.tensor([[0.5, -0.1, 0, 0.3], [0, -0.7, 0, 0]])
    assert torch.allclose(made.weight, expected, rtol=1e-6, atol=0)
    v = torch.tensor([[0.2**2, 0.9**2, 0, 0.1**2], [0, 0.3**2, 0, 0]]) * 0.01
    assert torch.allclose(made.square_avg, v, rtol=1e-5, atol=0)
    assert made.born == [[0, 0, 0, 0], [1, 0, 0, 0]]
    assert made.learner.replaced == {"agent.fc1": 1 / 5}


@pytest.mark.parametrize("clip_norm", [1e-46, 0.5, 1e9])
def test_growth_looks_at_the_dense_gradient_before_masking_and_clipping(clip_norm) -> None:
    """Masked first, no inactive position would score and (1,2) would come back; clipped to nothing first,
    all would tie and (0,2), of the lowest index, would grow."""
    made = HandMade(WEIGHT, MASK, topology=EVERY_TIME, optim={**STILL, "clip_norm": clip_norm})
    made.update(GRADIENT)
    assert made.mask == NEXT_MASK


def test_evolution_comes_after_an_optimiser_step_that_is_not_left_out() -> None:
    """First steps are lr / sqrt(0.01) = 0.5 against the gradient: 0.5, not 0.4, becomes the smallest."""
    topology, optim = {"interval": 1, "drop_fraction": 0.34}, {"lr": 0.05, "clip_norm": 100.0}
    made = HandMade([[1.0, 0.5, 0.4, 0.0]], [[1, 1, 1, 0]], topology=topology, optim=optim)
    made.update([[-1.0, 1.0, 0.0, 2.0]])
    assert made.mask == [[1, 0, 1, 1]]
    assert made.weight.tolist() == [pytest.approx([1.5, 0, 0.4, 0], abs=1e-4)]


@pytest.mark.parametrize(("t_env", "grown"), [(0, 5), (500, 2), (749, 0), (999, 0), (1000, 0)])
def test_the_share_replaced_follows_environment_steps(t_env, grown) -> None:
    """floor(zeta * 10) of ten weights; zeta is 0.5, 0.25, 0.07, 0 at f = 0, 0.5, 0.75, 1."""
    mask = np.arange(40).reshape(4, 10) < 10
    made = HandMade(mask * 1.0, mask, t_max=1000, topology={"interval": 1}, optim=STILL)
    made.update(np.where(mask, 0.0, 1.0), t_env)
    assert int(np.sum(np.array(made.mask)[1:])) == grown


def test_evolution_is_due_every_interval_updates_until_training_ends() -> None:
    made = HandMade(WEIGHT, MASK, t_max=100, topology={"interval": 3, "drop_fraction": 0.4}, optim=STILL)
    changed = []
    for update in range(1, 10):
        before = made.mask
        # Positions that are not kept pull most, so that every evolution changes something.
        made.update(np.where(np.array(before) > 0, 0.1, 1.0), t_env=100 if update > 6 else 50)
        changed.append(made.mask != before)
    # f = 1 from the seventh update on.
    assert changed == [False, False, True, False, False, True, False, False, False]
    assert made.learner.replaced == {"agent.fc1": 1 / 5}  # still what the sixth update did


def test_the_target_copy_comes_after_evolution() -> None:
    made = HandMade(
        WEIGHT, MASK, topology={"interval": 2, "drop_fraction": 0.4}, target={"update_interval": 2}
    )
    first = made.target.clone()
    made.update(GRADIENT)
    assert torch.equal(made.target, first)
    assert not torch.equal(made.weight, first)
    made.update(GRADIENT)
    assert made.mask != MASK
    assert torch.equal(made.target, made.weight)
    assert not made.target[torch.tensor(made.mask) == 0].any()


def test_the_target_keeps_its_mask_between_copies() -> None:
    made = HandMade(WEIGHT, MASK, topology=EVERY_TIME, optim=STILL, target={"update_interval": 2})
    made.update(GRADIENT)
    assert made.target.tolist() == [pytest.approx(row) for row in WEIGHT]
    made.update(np.zeros((2, 4)))  # nothing pulls: what was dropped grows again or the lowest index does
    assert torch.equal(made.target, made.weight)


def test_rmsprop_of_a_just_grown_weight_is_check_9() -> None:
    with precision(torch.float64):
        learner = make_learner(method="dense")
    learner.online.flat.detach().zero_()
    made = learner.algorithm.loss(
        learner.online, learner.target, as_tensors(packed(random_episodes(np.random.default_rng(0), [2])),
        torch.float64), 0,
    )  # fmt: skip
    for step, square in (
        (0.004996668887241949, 2.2499997750000163e-04),
        (0.0035427317743118364, 4.4774995522500326e-04),
    ):
        before = float(learner.online.flat[0].detach())
        learner.online.grad.zero_()
        learner.online.grad[0] = 0.3
        learner.online.grad[1] = np.sqrt(20.0**2 - 0.3**2)
        assert learner._step(made, {})["grad_norm"] == pytest.approx(20.0, rel=1e-14)
        assert float(learner.online.grad[0]) == pytest.approx(0.14999999250000035, rel=1e-12)
        assert before - float(learner.online.flat[0].detach()) == pytest.approx(step, rel=1e-12)
        assert float(learner.square_avg[0]) == pytest.approx(square, rel=1e-12)


def test_only_what_is_kept_counts_for_the_clip() -> None:
    """Kept gradients (3, 4) have norm 5, however large the masked one is."""
    made = HandMade(
        None, [[1, 1, 0]], topology={"evolve": False}, optim={"clip_norm": 5.0, "lr": 1.0, "eps": 1.0}
    )
    made.update([[3.0, 4.0, 1e6]])
    # w = - lr g / (sqrt(0.01 g^2) + eps), unclipped
    assert made.weight.tolist() == [pytest.approx([-3 / 1.3, -4 / 1.4, 0], rel=1e-6)]


@pytest.mark.parametrize(
    ("algorithm", "networks"),
    [
        ("qmix", {"agent", "mixer"}),
        ("res", {"agent", "mixer"}),
        ("ow_qmix", {"cagent", "cmixer"}),
        ("vdn", {"agent"}),
    ],
)
def test_which_networks_have_target_copies(algorithm, networks) -> None:
    learner = trained(make_learner(algorithm=algorithm, target={"update_interval": 2}), 3)
    assert {name.split(".")[0] for name in learner.target.shapes} == networks
    for name, copy in learner.target.tensors.items():
        assert copy.shape == learner.online.tensors[name].shape
        assert not torch.equal(copy, learner.online.tensors[name].detach()), name  # u = 3
    trained(learner, 1)
    for name, copy in learner.target.tensors.items():
        assert torch.equal(copy, learner.online.tensors[name].detach()), name


PATTERNS: list[Any] = [
    "element",
    "4x1",
    "8x1",
    {"agent": "8x1", "gru_hh": "4x1", "mixer": "4x1", "fc2": "element"},
]


@pytest.mark.parametrize("pattern", PATTERNS, ids=str)
@pytest.mark.parametrize(
    ("method", "algorithm"),
    [(m, "qmix") for m in ("ss", "set", "rigl", "rlx2", "mast")] + [("mast", a) for a in ALGORITHMS[1:]],
)
def test_sparsity_holds_through_updates_evolutions_and_target_copies(method, algorithm, pattern) -> None:
    topology = {"interval": 2, "pattern": pattern}
    learner = make_learner(
        method=method, algorithm=algorithm, topology=topology, target={"update_interval": 3}
    )
    rng = np.random.default_rng(7)
    layers = [(network, layer) for network, t in learner.topologies.items() for layer in t]
    nnz = {key: int(learner.topologies[key[0]][key[1]].sum()) for key in layers}
    first = {key: learner.topologies[key[0]][key[1]].copy() for key in layers}
    support = learner.target.flat != 0
    for i in range(1, 10):
        learner.update(random_episodes(rng, [5, 8, 3]), t_env=i)
        for network, layer in layers:
            mask = learner.topologies[network][layer]
            assert int(mask.sum()) == nnz[network, layer]
            grouped = layer_blocks(layer, len(mask), layer_pattern(pattern, network, layer))
            assert (grouped.spread(grouped.whole(mask)) == mask).all()
        assert not learner.online.flat.detach()[learner.mask == 0].any()
        assert not learner.square_avg[learner.mask == 0].any()
        if i % 3 == 0:
            for name, copy in learner.target.tensors.items():
                assert torch.equal(copy, learner.online.tensors[name].detach())
            support = learner.target.flat != 0
        assert not learner.target.flat[~support].any()
    moved = [(first[n, layer] != learner.topologies[n][layer]).any() for n, layer in layers]
    assert all(moved) if method != "ss" else not any(moved)


def test_connections_that_changed_start_from_zero() -> None:
    learner = make_learner(topology={"interval": 1})
    before = {layer: m.copy() for layer, m in learner.topologies["agent"].items()}
    trained(learner, 1)
    slots = learner.online.views(learner.square_avg)
    for layer, mask in learner.topologies["agent"].items():
        changed = torch.from_numpy(mask != before[layer])
        assert changed.any()
        assert not learner.online.tensors[f"agent.{layer}.weight"].detach()[changed].any()
        assert not slots[f"agent.{layer}.weight"][changed].any()
        assert (learner.born["agent"][layer] == (mask & ~before[layer])).all()  # update 1


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_methods_share_initial_weights(algorithm) -> None:
    dense = make_learner(algorithm=algorithm, method="dense").online.flat.detach()
    for method in ("ss", "set", "rigl", "rlx2", "mast"):
        learner = make_learner(algorithm=algorithm, method=method)
        kept = learner.mask > 0
        assert not kept.all()
        assert torch.equal(dense[kept], learner.online.flat.detach()[kept])
    assert not torch.equal(
        dense, make_learner(algorithm=algorithm, method="dense", seed=3).online.flat.detach()
    )


def test_algorithms_share_the_agents_initial_weights() -> None:
    agents = [make_learner(algorithm=a, method="dense").online.numpy("agent") for a in ALGORITHMS]
    for other in agents[1:]:
        assert all((agents[0][name] == other[name]).all() for name in agents[0])


def test_init_rescale_grows_surviving_weights() -> None:
    plain, scaled = make_learner(sparsity=0.7), make_learner(sparsity=0.7, topology={"init_rescale": True})
    a = plain.online.tensors["agent.gru_hh.weight"].detach()
    b = scaled.online.tensors["agent.gru_hh.weight"].detach()
    density = float(plain.topologies["agent"]["gru_hh"].mean())
    assert 1.0 < density**-0.5 < 3.0
    assert torch.allclose(b, a * density**-0.5)
    assert torch.equal(plain.online.tensors["agent.fc1.bias"], scaled.online.tensors["agent.fc1.bias"])
    assert torch.equal(scaled.target.tensors["agent.gru_hh.weight"], b)
    thin, thick = make_learner(sparsity=0.9), make_learner(sparsity=0.9, topology={"init_rescale": True})
    a, b = (x.online.tensors["agent.gru_hh.weight"].detach() for x in (thin, thick))
    assert float(thin.topologies["agent"]["gru_hh"].mean()) ** -0.5 > 3.0
    assert torch.allclose(b, a * 3.0)


@pytest.mark.parametrize("method", ["dense", "mast"])
@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_same_seed_same_bytes(algorithm, method) -> None:
    one, other = (
        trained(make_learner(algorithm=algorithm, method=method, topology={"interval": 2}), 5).state()
        for _ in range(2)
    )
    assert one.keys() == other.keys()
    assert all(one[name].tobytes() == other[name].tobytes() for name in one)
    elsewhere = trained(make_learner(algorithm=algorithm, method=method, seed=3), 5).state()
    assert elsewhere["online"].tobytes() != one["online"].tobytes()


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_state_round_trip(algorithm) -> None:
    values = {"algorithm": algorithm, "topology": {"interval": 2}, "target": {"update_interval": 3}}
    learner = trained(make_learner(**values), 4)
    other = make_learner(**values, seed=77)
    other.load_state({k: v.copy() for k, v in learner.state().items()}, learner.updates, learner.replaced)
    for updates in (1, 3):  # over an evolution and a target copy
        trained(learner, updates, seed=updates)
        trained(other, updates, seed=updates)
        one, two = learner.state(), other.state()
        assert all(one[name].tobytes() == two[name].tobytes() for name in one)
    assert torch.equal(learner.mask, other.mask)
    assert learner.replaced == other.replaced
    assert learner.updates == other.updates == 8


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_greedy_actions_and_estimates_equal_the_reference(algorithm) -> None:
    learner = make_learner(algorithm=algorithm, method="dense")
    episodes = random_episodes(np.random.default_rng(3), [4, 6, 1])
    p = doubles(learner.online.tensors, trained=False)
    utilities = [unrolled(p, "agent", e) for e in episodes]
    actions, believed, realised = {}, [], []
    for i, e in enumerate(episodes):
        for t in range(e.length):
            q = torch.stack(utilities[i][t]).masked_fill(torch.from_numpy(e.avail[t] == 0), -torch.inf)
            actions[i, t] = q.argmax(1).tolist()
            taken = [utilities[i][t][agent][int(a)] for agent, a in enumerate(e.actions[t])]
            believed.append(float(q_tot(p, algorithm, taken, vector(e.state[t]))))
            realised.append(sum(0.99 ** (k - t) * float(e.reward[k]) for k in range(t, e.length)))
    found = learner.greedy_actions(episodes)
    expected = [[actions[i, t] for t in range(e.length)] for i, e in enumerate(episodes)]
    assert [f.tolist() for f in found] == expected
    estimate = learner.estimate(episodes)
    assert estimate.q_tot == pytest.approx(np.mean(believed), rel=1e-5)
    assert estimate.realised == pytest.approx(np.mean(realised), rel=1e-5)


def test_units_that_are_zero_on_every_row_are_dead() -> None:
    learner = make_learner(method="dense")
    batch = random_episodes(np.random.default_rng(3), [6, 4])
    alive = learner.estimate(batch).dead_units
    with torch.no_grad():
        learner.online.tensors["agent.fc1.bias"][:4] = -1e3
    assert alive == 0.0
    assert learner.estimate(batch).dead_units == 4 / 16


def test_metrics_of_an_update() -> None:
    learner = make_learner(algorithm="ow_qmix")
    batch = random_episodes(np.random.default_rng(3), [6, 4])
    made = learner.algorithm.loss(learner.online, learner.target, as_tensors(packed(batch)), 1)
    metrics = learner.update(batch, 1)
    assert metrics.keys() == {
        "loss", "grad_norm", "q_tot", "target", "td_error", "q_star", "loss_central", "weight"
    }  # fmt: skip
    assert metrics["td_error"] == pytest.approx(float((made.q_tot - made.y).abs().mean()))
    assert metrics["target"] == pytest.approx(float(made.y.mean()))
    assert 0.1 <= metrics["weight"] <= 1.0
