"""Which table a layer runs from, and what a model of unusual sizes may take."""

import numpy as np
import pytest

from mast_edge.kernel_costs import SHIPPED, TABLES
from mast_edge.layers import layers_of
from mast_edge.native_agent import TIE, choose_tables
from mast_edge.spec import LAYERS, AgentSpec
from tests.agents import MAP_3M, random_agent

EVEN = {"dense": (1.0, 0.0, 0.0, 0.0), "csr": (1.0, 0.0, 0.0), "8x1": (1.0, 0.0, 0.0), "4x1": (1.0, 0.0, 0.0)}


def layers(spec, sparsity, pattern="element"):
    return layers_of(*random_agent(spec, sparsity, pattern=pattern))


def tables(choices):
    return {name: choice.table for name, choice in choices.items()}


@pytest.mark.parametrize("winner", TABLES)
def test_the_cheapest_table_is_taken_and_a_tie_is_dense(winner):
    some = layers(MAP_3M, 0.9)
    assert tables(choose_tables(MAP_3M, some, EVEN)) == dict.fromkeys(LAYERS, "dense")
    better = {**EVEN, winner: (0.9 * TIE, *EVEN[winner][1:])}
    assert tables(choose_tables(MAP_3M, some, better)) == dict.fromkeys(LAYERS, winner)
    slightly = {**EVEN, "csr": (1.01 * TIE, 0.0, 0.0)}
    assert tables(choose_tables(MAP_3M, some, slightly)) == dict.fromkeys(LAYERS, "dense")


def test_dense_agents_run_densely_and_block_agents_from_blocks():
    assert set(tables(choose_tables(MAP_3M, layers(MAP_3M, 0.0), SHIPPED)).values()) == {"dense"}
    found = tables(choose_tables(MAP_3M, layers(MAP_3M, 0.95, "8x1"), SHIPPED))
    assert (found["gru_ih"], found["gru_hh"]) == ("8x1", "8x1")


def test_predictions_by_hand():
    """16 hidden units: fc1 16 x 7 behind observations, gru_hh 48 x 16, hand-made masks."""
    spec = AgentSpec(7, 5, 3, 16)
    weights, _ = random_agent(spec, 0.0)
    masks = {name: np.zeros(shape, bool) for name, shape in spec.layer_shapes().items()}
    masks["fc1"][:, 8] = True  # a column of one-hots: never multiplied
    masks["fc1"][0, :3] = masks["fc1"][5, 2] = masks["fc1"][9, 2] = True
    weights |= {f"{name}.weight": weights[f"{name}.weight"] * masks[name] for name in LAYERS}
    costs = {"dense": (1000.0, 100.0, 10.0, 1.0)} | dict.fromkeys(TABLES[1:], (1000.0, 100.0, 10.0))
    found = choose_tables(spec, layers_of(weights, masks), costs)
    assert found["fc1"].ns == {
        "dense": 1000 + 7 * 100 + 3.5 * 10 + 3.5 * 1,  # one panel of 16 rows, half of 7 inputs
        "csr": 1000 + 16 * 100 + 5 * 10,
        "8x1": 1000 + 2 * 100 + 4 * 10,  # columns 0, 1, 2 of the first group, 2 of the second
        "4x1": 1000 + 4 * 100 + 5 * 10,
    }
    assert found["gru_hh"].ns["dense"] == 1000 + 3 * 16 * 10 + 3 * 16 * 1


def test_a_wide_panel_waits_once_for_64_rows():
    costs = {"dense": (0.0, 0.0, 10.0, 1.0)} | dict.fromkeys(TABLES[1:], (1e9, 0.0, 0.0))
    found = choose_tables(MAP_3M, layers(MAP_3M, 0.0), costs)
    assert found["gru_hh"].ns["dense"] == 64 * (3 * 10 + 12 * 1)
    assert found["fc2"].ns["dense"] == 64 * (1 * 10 + 1 * 1)


def test_tables_that_would_outgrow_the_file_are_no_candidates():
    """8192 x 8192 with few weights: 256 MB dense, and blocks of which most is padding."""
    spec, mask = AgentSpec(8192, 2, 1, 8192), np.random.default_rng(0).random((8192, 8195)) < 0.01
    layer = layers_of(
        {f"{name}.{part}": np.zeros(shape, "f") for name, part, shape in _parts(mask)}, {"fc1": mask}
    )["fc1"]
    assert set(choose_tables(spec, {"fc1": layer}, EVEN)["fc1"].ns) == {"csr"}
    assert set(choose_tables(MAP_3M, layers(MAP_3M, 0.9), EVEN)["fc1"].ns) == set(TABLES)


def _parts(mask):
    for name in LAYERS:
        shape = mask.shape if name == "fc1" else (3, 1)
        yield name, "weight", shape
        yield name, "bias", shape[:1]
