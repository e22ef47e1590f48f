"""What is reported of a topology, against masks whose history was worked out by hand."""

import numpy as np
import pytest

from mast_edge.train.topology_report import topology_facts
from tests.train.algos.toy import HandMade, make_learner, random_episodes

STILL = {"lr": 1e-12}


def test_a_history_worked_out_by_hand() -> None:
    """Six of twelve weights; each evolution replaces two, updates 2 and 4.

    Start:    [[4 3 0 0], [2 1 0 0], [6 5 0 0]] kept where not 0.
    Update 2: the smallest, (1,1) = 1 and (1,0) = 2, leave; (0,2) and (1,3) pull most: they come.
    Update 4: the smallest are the two at weight 0, (0,2) and (1,3): both leave. (1,1) and (1,3) pull most:
              (1,1) comes back, born now; (1,3) comes back within the evolution that dropped it, born at 2.
    """
    weight = [[4.0, 3, 0, 0], [2, 1, 0, 0], [6, 5, 0, 0]]
    topology = {"interval": 2, "drop_fraction": 0.4}
    made = HandMade(weight, np.array(weight) > 0, topology=topology, optim=STILL)
    start = topology_facts(made.learner)
    assert start == {
        "agent.fc1": {
            "nnz": 6,
            "density": 0.5,
            "replaced": 0.0,
            "age_mean": 0.0,
            "age_max": 0,
            "original": 1.0,
            "idle_outputs": 0,
            "idle_inputs": 2,
        }
    }
    first_pull = [[0, 0, 9, 1], [2, 3, 0, 8], [0, 0, 0, 1]]
    made.update(first_pull)
    assert topology_facts(made.learner)["agent.fc1"] == {**start["agent.fc1"], "age_mean": 1.0, "age_max": 1}
    made.update(first_pull)
    assert made.mask == [[1, 1, 1, 0], [0, 0, 0, 1], [1, 1, 0, 0]]
    facts = topology_facts(made.learner)["agent.fc1"]
    assert facts["replaced"] == pytest.approx(2 / 6)
    assert facts["age_mean"] == pytest.approx((2 * 4 + 0 * 2) / 6)
    assert facts["original"] == pytest.approx(4 / 6)
    assert (facts["age_max"], facts["idle_outputs"], facts["idle_inputs"]) == (2, 0, 0)

    second_pull = [[0, 0, 1, 0], [1, 9, 0, 8], [0, 0, 2, 1]]
    made.update(second_pull)
    made.update(second_pull)
    assert made.mask == [[1, 1, 0, 0], [0, 1, 0, 1], [1, 1, 0, 0]]
    assert made.born == [[0, 0, 2, 0], [0, 4, 0, 2], [0, 0, 0, 0]]
    facts = topology_facts(made.learner)["agent.fc1"]
    assert facts["replaced"] == pytest.approx(1 / 6)
    assert facts["age_mean"] == pytest.approx((4 * 4 + 0 + 2) / 6)
    assert facts["original"] == pytest.approx(4 / 6)
    assert (facts["nnz"], facts["density"]) == (6, 0.5)
    assert (facts["age_max"], facts["idle_outputs"], facts["idle_inputs"]) == (4, 0, 1)


def test_units_without_a_weight_are_idle() -> None:
    made = HandMade(None, [[1, 0, 1], [0, 0, 0], [0, 0, 1], [0, 0, 0]], topology={"evolve": False})
    facts = topology_facts(made.learner)["agent.fc1"]
    assert (facts["idle_outputs"], facts["idle_inputs"]) == (2, 1)
    assert facts["density"] == 3 / 12


@pytest.mark.parametrize(
    ("algorithm", "networks"),
    [("qmix", {"agent", "mixer"}), ("ow_qmix", {"agent", "mixer", "cagent", "cmixer"}), ("vdn", {"agent"})],
)
def test_every_masked_layer_is_reported(algorithm, networks) -> None:
    learner = make_learner(algorithm=algorithm, topology={"interval": 1})
    learner.update(random_episodes(np.random.default_rng(0), [4, 4]), 1)
    facts = topology_facts(learner)
    layers = {f"{network}.{layer}" for network, t in learner.topologies.items() for layer in t}
    assert facts.keys() == layers
    assert {name.split(".")[0] for name in facts} == networks
    for name, fact in facts.items():
        network, layer = name.split(".", 1)
        assert fact["nnz"] == learner.topologies[network][layer].sum()
        assert 0 < fact["replaced"] <= 0.5
        assert fact["original"] == pytest.approx(1 - fact["replaced"])
        assert fact["age_max"] == 1


@pytest.mark.parametrize("method", ["dense", "tiny"])
def test_dense_networks_have_nothing_to_report(method) -> None:
    sparsity = 0.5 if method == "tiny" else 0.0
    assert topology_facts(make_learner(method=method, sparsity=sparsity)) == {}
