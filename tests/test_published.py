"""The numbers of Table 1 in the package against the transcript of the paper, and what is said beside them."""

import json
from pathlib import Path

import pytest

from mast_edge import published
from mast_edge.accounting import Model, Setting, account
from mast_edge.spec import AgentSpec

PAPER = json.loads((Path(__file__).parent / "data" / "table1.json").read_text())
ALGORITHM = {"QMIX": "qmix", "WQMIX": "ow_qmix", "RES": "res"}


def setting(cell, **changed):
    agent, state = published.GAMES[cell.map_name]
    facts = {"method": "mast", "sparsity": cell.sparsity, "model": Model(cell.algorithm, agent, state)}
    return Setting("x", cell.map_name, **{**facts, **changed})


def test_the_cells_are_those_of_the_paper():
    transcript = {
        (ALGORITHM[row["alg"]], row["map"]): (row["sparsity"], row["total"], row["train"], row["test"])
        for row in PAPER["table1"]
    }
    held = {(c.algorithm, c.map_name): (c.sparsity, *map(float, c.printed)) for c in published.TABLE_1}
    assert held == transcript
    means = {ALGORITHM[row["alg"]]: (row["total"], row["train"], row["test"]) for row in PAPER["table1_avg"]}
    assert {name: tuple(map(float, mean)) for name, mean in published.AVERAGES.items()} == means
    printed = [*(cell.printed for cell in published.TABLE_1), *published.AVERAGES.values()]
    assert {len(text) for row in printed for text in row} == {5}


def test_35_of_36_cells_agree_and_the_miss_is_explained():
    result = account(*map(setting, published.TABLE_1))
    assert (result["published"]["cells"], result["published"]["agree"]) == (36, 35)
    notes = {(row["algorithm"], row["map"]): row["note"] for row in result["rows"] if row["note"]}
    assert list(notes) == [("ow_qmix", "2s3z")]
    assert "0.106575 and prints 0.107, the paper prints 0.106" in notes["ow_qmix", "2s3z"]
    row = next(r for r in result["rows"] if r["note"])
    assert row["published"]["agrees"] == {
        "total_size_ratio": False,
        "train_flops_ratio": True,
        "test_flops_ratio": True,
    }
    assert (f"{row['total_size_ratio']:.6f}", row["published"]["total_size_ratio"]) == ("0.106575", 0.106)


def test_averages_of_printed_values_are_the_papers():
    """RES: (66 + 111 + 158 + 155) / 4 = 122.5 and (50 + 100 + 150 + 150) / 4 = 112.5 thousandths, to even."""
    result = account(*map(setting, published.TABLE_1))["published"]
    means = {(mean["algorithm"], mean["column"]): mean for mean in result["averages"]}
    assert len(means) == 9
    assert all(mean["agrees"] and mean["of_printed"] == mean["published"] for mean in means.values())
    res = means["res", "total_size_ratio"]
    assert (res["of_printed"], f"{res['mean']:.5f}") == (0.122, "0.12275")
    assert means["res", "test_flops_ratio"]["of_printed"] == 0.112
    for row in PAPER["table1_avg"]:
        for column, key in zip(published.COLUMNS, ("total", "train", "test"), strict=True):
            assert means[ALGORITHM[row["alg"]], column]["mean"] == pytest.approx(row[f"rule_{key}"], abs=1e-6)
    assert "0.1225, printed 0.122" in result["note"]


def test_an_average_needs_all_four_maps():
    some = account(*map(setting, published.TABLE_1[:4]), *map(setting, published.TABLE_1[9:]))["published"]
    assert {mean["algorithm"] for mean in some["averages"]} == {"qmix"}
    assert (some["cells"], some["agree"], some["note"]) == (21, 21, None)


def test_a_cell_named_twice_counts_once():
    twice = account(*[setting(published.TABLE_1[0])] * 2, setting(published.TABLE_1[0], pattern="8x1"))
    assert [row["published"] is not None for row in twice["rows"]] == [True] * 3
    assert twice["published"]["cells"] == 3


@pytest.mark.parametrize(
    "changed",
    [
        {"method": "rigl"},
        {"sparsity": 0.9},
        {"model": Model("qmix", AgentSpec(30, 9, 3, 32), 48)},
        {"model": Model("qmix", AgentSpec(30, 9, 3), 48, 16)},
        {"model": Model("qmix", AgentSpec(31, 9, 3), 48)},
        {"model": Model("vdn", AgentSpec(30, 9, 3), 48)},
    ],
    ids=["method", "sparsity", "width", "mixer", "observation", "algorithm"],
)
def test_nothing_published_stands_beside_another_setting(changed):
    result = account(setting(published.TABLE_1[0], **changed))
    assert result["rows"][0]["published"] is None
    assert result["rows"][0]["note"] is None
    assert result["published"] is None
