"""Accounts for people: what stands where, for few and for many configs."""

import io

import pytest
from rich.console import Console
from rich.table import Table

from mast_edge import published
from mast_edge.accounting import Model, Setting, account
from mast_edge.accounting_tables import account_tables
from mast_edge.spec import AgentSpec

QMIX = Model("qmix", AgentSpec(30, 9, 3), 48)


def text(result, layers=False):
    """All tables, spaces squeezed and frames dropped."""
    out = io.StringIO()
    console = Console(file=out, width=200)
    for shown in account_tables(result, layers):
        console.print(shown, soft_wrap=isinstance(shown, str))
    return " ".join(out.getvalue().replace("│", " ").split())


def table_1():
    settings = []
    for cell in published.TABLE_1:
        model = Model(cell.algorithm, *published.GAMES[cell.map_name])
        name = f"{cell.algorithm}-{cell.map_name}"
        settings.append(Setting("t", cell.map_name, "mast", cell.sparsity, model, variant=name))
    return account(*settings)


def test_no_number_is_cut_however_narrow_the_terminal_is():
    """At 80 and at 40 columns every word of the wide tables is there; at 80 the comparison fits."""
    result = table_1()
    wide = text(result, layers=True)
    for width in (80, 40):
        out = io.StringIO()
        console = Console(file=out, width=width)
        tables = [shown for shown in account_tables(result, True) if isinstance(shown, Table)]
        for shown in tables:
            console.print(shown, crop=False)
        words = out.getvalue().replace("│", " ").split()
        assert "…" not in out.getvalue()
        assert {"41,500,634", "0.107*", "854,871", "6,263,827"} <= set(words)
        assert {word for word in words if word[0].isdigit()} <= set(wide.split())
    first = Console(file=io.StringIO(), width=80).render_lines(tables[0])
    assert max(sum(len(part.text) for part in line) for line in first) <= 80


def test_one_config_shows_totals_and_layers():
    shown = text(account(Setting("configs/qmix_3m.yaml", "3m", "mast", 0.95, QMIX)))
    assert "configs/qmix_3m.yaml: qmix mast on 3m, 95% zeros" in shown
    assert "all networks with targets 92,116 6,084 6,088 0.066 0.066 0.06609" in shown
    assert "FLOPs of an update, per sample 804,108 41,024 41,071 0.051 0.051 0.05108" in shown
    assert "agent gru_hh element 192 x 64 516 0.0420 0.0420 24,480 1,028" in shown
    assert "a FLOPs ratio is not a speed-up" in shown
    assert "3 of 3 cells of Table 1 agree" in shown
    assert "as many parameters" not in shown


def test_tiny_is_said_to_be_matched_and_patterns_are_named():
    tiny = Setting("t", "3m", "tiny", 0.95, QMIX, Model("qmix", AgentSpec(30, 9, 3, 13), 48, 3, 8))
    shown = text(account(tiny, Setting("b", "3m", "mast", 0.95, QMIX, pattern="4x1")))
    assert "t: qmix tiny on 3m, as many parameters as with 95% zeros" in shown
    assert "b: qmix mast on 3m, 95% zeros" in shown
    assert "fc1 dense 13 x 42 546 1.0000" in shown
    assert "fc1 4x1 64 x 42 216 0.0804" in shown  # 54 of 672 blocks


def test_a_setting_that_is_not_published_has_no_papers_value():
    shown = text(account(Setting("x", "3m", "mast", 0.8, QMIX)))
    assert "all networks with targets 92,116 19,668 19,672 0.214 - 0.21356" in shown
    assert "cells of Table 1" not in shown


def test_the_twelve_variants_of_table_1_share_tables():
    shown = text(table_1())
    assert "qmix-3m 95% 0.066 0.066 0.051 0.051 0.050 0.050" in shown
    assert "ow_qmix-2s3z 90% 0.107* 0.106 0.100 0.100 0.100 0.100" in shown
    assert "35 of 36 cells of Table 1 agree" in shown
    assert "res Total Size 0.12275 0.122 0.122" in shown
    assert "hyper_w_1.0" not in shown
    assert shown.count("*") == 2  # the cell and its reason


def test_the_reason_of_the_miss_follows_its_table_at_once():
    shown = account_tables(table_1())
    assert isinstance(shown[0], Table)
    assert shown[1].startswith("* Total Size of OW-QMIX on 2s3z")
    assert shown[2].startswith("35 of 36")


def test_the_reason_of_the_miss_follows_a_single_config_too():
    result = table_1()
    result["rows"] = result["rows"][5:6]
    shown = account_tables(result)
    assert shown[1].startswith("* Total Size of OW-QMIX on 2s3z")
    assert "0.107* 0.106" in text(result)


def test_layers_of_many_configs_are_shown_on_request():
    shown = text(table_1(), layers=True)
    assert shown.count("hyper_w_1.0") == 12
    assert shown.count("net.6") == 4


@pytest.mark.parametrize("many", [False, True])
def test_tables_stay_within_110_columns(many):
    result = table_1()
    result["rows"] = result["rows"] if many else result["rows"][:1]
    console = Console(width=300)
    for shown in account_tables(result):
        if isinstance(shown, Table):
            assert console.measure(shown).maximum <= 110, shown.title


def test_nothing_calls_a_ratio_of_flops_a_speed_up():
    for result in (table_1(), account(Setting("x", "3m", "mast", 0.95, QMIX))):
        shown = text(result).replace("a FLOPs ratio is not a speed-up", "")
        for word in ("speed-up", "speedup", "faster", "times the"):
            assert word not in shown
