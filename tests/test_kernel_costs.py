"""Costs of kernels: measured once, kept, and never trusted blindly."""

import json

import numpy as np
import pytest

from mast_edge import kernel_costs
from mast_edge.kernel_costs import SHIPPED, TABLES, measure, predicted, terms


@pytest.fixture
def kept(tmp_path, monkeypatch):
    """Where they are kept; empty, and no wish for the shipped ones."""
    monkeypatch.setenv("MAST_EDGE_CACHE", str(tmp_path))
    monkeypatch.delenv("MAST_EDGE_KERNEL_COSTS")
    kernel_costs.kernel_costs.cache_clear()
    yield tmp_path / "kernels"
    kernel_costs.kernel_costs.cache_clear()


def test_measured_costs_order_what_no_machine_can_turn_around():
    costs = measure()
    assert set(costs) == set(TABLES)
    for table in TABLES:
        assert len(costs[table]) == len(SHIPPED[table])
        assert min(costs[table]) >= 0
        few, many = (predicted(costs, table, terms(table, "gru_hh", 192, 64, {table: n})) for n in (60, 6000))
        assert 10 < few <= many < 1e6
    csr, blocks = (
        predicted(costs, table, terms(table, "gru_hh", 192, 64, {table: n}))
        for table, n in (("csr", 6144), ("8x1", 768))
    )
    assert blocks < csr


def test_they_are_measured_once(kept, monkeypatch):
    first = kernel_costs.kernel_costs()
    (file,) = kept.iterdir()
    monkeypatch.setattr(kernel_costs, "measure", lambda: pytest.fail("measured again"))
    kernel_costs.kernel_costs.cache_clear()
    assert kernel_costs.kernel_costs() == first
    assert {table: tuple(found) for table, found in json.loads(file.read_text()).items()} == first


@pytest.mark.parametrize("damage", ["", "{", '{"dense": 1}', '{"dense": [1e999, 1, 1, 1]}', "[]"])
def test_a_damaged_file_is_measured_again(kept, damage):
    kernel_costs.kernel_costs()
    (file,) = kept.iterdir()
    file.write_text(damage)
    kernel_costs.kernel_costs.cache_clear()
    assert set(kernel_costs.kernel_costs()) == set(TABLES)
    assert set(json.loads(file.read_text())) == set(TABLES)


def test_without_a_cache_they_are_measured_all_the_same(kept, monkeypatch):
    file = kept.parent / "file"
    file.write_text("")
    monkeypatch.setenv("MAST_EDGE_CACHE", str(file))
    assert set(kernel_costs.kernel_costs()) == set(TABLES)


def test_shipped_costs_on_demand(kept, monkeypatch):
    monkeypatch.setenv("MAST_EDGE_KERNEL_COSTS", "shipped")
    assert kernel_costs.kernel_costs() is SHIPPED
    assert not kept.exists()


def test_a_fit_recovers_what_made_the_times_and_leaves_out_what_is_negative():
    rng = np.random.default_rng(0)
    paid = np.column_stack([np.ones(40), rng.integers(1, 200, 40), rng.integers(1, 4000, 40)]).astype(float)
    assert kernel_costs._fitted(paid, paid @ [30.0, 2.0, 0.5]) == (30.0, 2.0, 0.5)
    found = kernel_costs._fitted(paid, paid @ [0.0, -0.05, 0.5] + 40)
    assert found[1] == 0.0
    assert min(found) >= 0
