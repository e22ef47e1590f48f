"""`mast-edge account`: all variants, the paper beside, real costs in every answer."""

import json
from pathlib import Path

import pytest

from mast_edge import registry
from mast_edge.cli_account import progress

ROOT = Path(__file__).parents[1]
CONFIG = str(ROOT / "configs" / "qmix_3m.yaml")
TABLE_1 = str(ROOT / "configs" / "paper" / "table1.yaml")


@pytest.fixture(autouse=True)
def _here(monkeypatch):
    monkeypatch.chdir(ROOT)


def test_table_1_as_it_is_typed(call):
    answer = call("account", "configs/paper/table1.yaml")
    assert (answer.code, answer.err) == (0, "")
    shown = " ".join(answer.out.replace("│", " ").split())
    assert "res-2c_vs_64zg 85% 0.155 0.155 0.151 0.151 0.150 0.150" in shown
    assert "ow_qmix-2s3z 90% 0.107* 0.106" in shown
    assert "* Total Size of OW-QMIX on 2s3z is the one cell of the 36 that Rule R misses" in shown
    assert "35 of 36 cells of Table 1 agree" in shown
    assert "3m 95% 5,576 1,394 922 1,828 0 288" in shown  # accounting.md 7.2
    assert "3m 95% gru_hh 8x1, fc2 8x1 27,840 1,394" in shown
    assert "--measure" in shown
    assert call("account", TABLE_1, "--json").json == call("account", TABLE_1, "--json").json


def test_table_1_for_machines(call):
    result = call("account", TABLE_1, "--json").json
    assert [row["variant"] for row in result["rows"]][:5] == [
        *("qmix-3m", "qmix-2s3z", "qmix-3s5z", "qmix-2c_vs_64zg", "ow_qmix-3m")
    ]
    assert {row["config"] for row in result["rows"]} == {TABLE_1}
    assert (result["published"]["cells"], result["published"]["agree"]) == (36, 35)
    for row in result["rows"]:
        real = row["real"]
        assert real["note"] == "not measured"
        assert (real["latency"], real["break_even"]) == (None, None)
        assert sum(real["bytes"]["parts"].values()) == real["bytes"]["file"]
        kept = {layer["name"]: layer["nnz"] for layer in row["layers"] if layer["network"] == "agent"}
        assert {layer["name"]: layer["nnz"] for layer in real["macs"]["layers"]} == kept
        assert real["agent"].startswith("random weights and masks")


def test_one_variant_can_be_named(call):
    result = call("account", TABLE_1, "--variant", "res-3m", "--json").json
    assert [(row["variant"], row["published"]["train_flops_ratio"]) for row in result["rows"]] == [
        ("res-3m", 0.055)
    ]
    assert call("account", TABLE_1, "--variant", "res-8m").code == 4


def test_a_config_of_its_own_has_the_published_values_beside_it(call):
    row = call("account", CONFIG, "--json").json["rows"][0]
    assert row["published"]["total_size_ratio"] == 0.066
    options = "env.options.obs_last_action=true"
    for change in ("sparsity=0.9", "method=rigl", "network.hidden_dim=32", options):
        assert call("account", CONFIG, "--set", change, "--json").json["rows"][0]["published"] is None


def test_measured_times_carry_their_machine(call):
    row = call("account", CONFIG, "--measure", "--json").json["rows"][0]
    latency, sweeps = row["real"]["latency"], row["real"]["break_even"]
    assert latency["calls"] >= 1000
    assert {"cpu", "vectors", "compiler", "versions", "threads", "date"} <= set(latency["host"])
    assert [batch["batch"] for batch in latency["batches"]] == [1, 3, 64]
    assert (latency["max_abs_q_difference"], latency["same_actions"]) == (0.0, 1.0)
    assert [found["what"] for found in sweeps["results"]] == [
        *("fc1", "gru_ih", "gru_hh", "fc2", "agent, batch 1", "agent, batch 3")
    ]
    shown = " ".join(call("account", CONFIG, "--measure").out.split())
    for said in ("Measured time of a call", "Measured break-even of CSR", latency["host"]["cpu"]):
        assert said in shown


def test_tiny_of_every_algorithm_is_counted(call):
    """3m at 95 %: H 13. A cmixer has 2 E_c^2 + 105 E_c + 2 parameters, 8777 at 45 and 9064 at 46.

    It may have some 8875: five in a hundred of 156928 weights, each layer rounded up, and 1026 biases. The
    narrow agent has 1777 parameters, of which 1677 are weights.
    """
    for algorithm in registry.ALGORITHMS:
        answer = call("account", CONFIG, "--set", f"algorithm={algorithm}", "--set", "method=tiny", "--json")
        row = answer.json["rows"][0]
        shapes = {f"{at['network']}.{at['name']}": at["shape"] for at in row["layers"]}
        assert (row["algorithm"], row["method"], shapes["agent.fc1"]) == (algorithm, "tiny", [13, 42])
        assert shapes.get("mixer.V.0") == (None if algorithm == "vdn" else [3, 48])
        assert shapes.get("cmixer.net.2") == ([45, 45] if algorithm == "ow_qmix" else None)
        assert row["dense"]["agent_params"] == 28297
        real = row["real"]["bytes"]
        assert (real["parts"]["values"], real["parts"]["indices"]) == (4 * 1677, 0)
        assert real["ratios"]["tables"] == real["ratios"]["rule_r"] == 1777 / 28297


def test_the_configs_widths_and_pattern_are_counted(call):
    sets = ("algorithm=ow_qmix", "network.central_dim=100", "topology.pattern={agent: 8x1, fc1: element}")
    row = call("account", CONFIG, *(word for s in sets for word in ("--set", s)), "--json").json["rows"][0]
    layers = {(at["network"], at["name"]): at for at in row["layers"]}
    assert layers["cmixer", "net.2"]["shape"] == [100, 100]
    assert [layers["agent", n]["pattern"] for n in ("fc1", "gru_ih", "fc2")] == ["element", "8x1", "8x1"]
    assert layers["cagent", "gru_ih"]["pattern"] == "element"
    for layer in row["real"]["macs"]["layers"]:
        assert layer["nnz"] == layers["agent", layer["name"]]["nnz"]


def test_a_ratio_over_no_mixer_is_a_dash(call):
    answer = call("account", CONFIG, "--set", "algorithm=vdn")
    assert answer.code == 0
    assert "mixer, parameters │ 0 │ 0 │ 0 │ - │ - │ -" in " ".join(answer.out.split())


def test_many_configs_show_their_layers_on_request(call):
    few = call("account", TABLE_1)
    every = call("account", TABLE_1, "--layers")
    assert "hyper_w_1.0" not in few.out
    assert every.out.count("hyper_w_1.0") == 12


def test_equal_agents_are_looked_at_once(call, monkeypatch):
    from mast_edge import account_configs

    seen = []
    real = account_configs.agent_costs

    def counting(agent, measure):
        seen.append(agent)
        return real(agent, measure)

    monkeypatch.setattr(account_configs, "agent_costs", counting)
    rows = call("account", TABLE_1, "--json").json["rows"]
    assert (len(seen), len(rows)) == (8, 12)
    assert rows[0]["real"] == rows[8]["real"]  # qmix and res on 3m at 95 %


def test_progress_is_told_only_when_it_takes_long(capsys, monkeypatch):
    now = [0.0]
    monkeypatch.setattr("mast_edge.cli_account.time.monotonic", lambda: now[0])
    tell = progress(quiet=False)
    tell(1, 8)
    now[0] = 2.5
    tell(2, 8)
    progress_quiet = progress(quiet=True)
    now[0] = 9.0
    progress_quiet(3, 8)
    tell(8, 8)
    out, err = capsys.readouterr()
    assert (out, err) == ("", "account: 2 of 8 agents\n")


def test_the_object_is_one_line_of_json(call):
    answer = call("account", CONFIG, "--json")
    assert json.loads(answer.out)["schema"] == "mast-edge/account/1"
    assert answer.out.count("\n") == 1
