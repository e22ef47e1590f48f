"""train, export, evaluate: the three commands as written, one after another."""

import json
import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file

from tests.end_to_end.conftest import CONFIG, SHORT, mast_edge_in
from tests.train.small_runs import SMALL, advance, folder, small


def test_train_leaves_a_run(trained: Path) -> None:
    done = mast_edge_in(trained)("train", str(CONFIG), *SHORT, "--json")
    result = json.loads(done.stdout)
    assert (done.returncode, result["status"]) == (0, "complete")
    run = trained / "runs" / result["run"]
    manifest = json.loads((run / "manifest.json").read_text())
    assert manifest["status"] == "complete"
    assert manifest["t_env"] == result["t_env"] >= 2400
    records = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    evaluations = [r["t_env"] for r in records if r["kind"] == "evaluation"]
    assert evaluations[0] == 0
    assert [t // 1000 for t in evaluations] == [0, 1, 2]
    told: dict[str, set[str]] = {}
    for record in records:
        told.setdefault(record["kind"], set()).update(record)
    assert {"win_rate", "return", "episode_length"} <= told["evaluation"]
    assert {"loss", "grad_norm", "q_tot", "return", "epsilon", "replay_fill", "updates_per_second"} <= told[
        "train"
    ]
    assert {f"seconds_{part}" for part in ("env", "act", "learn", "evaluate", "checkpoint")} <= told["train"]
    assert {"q_tot", "realised_return", "dead_units"} <= told["estimate"]
    layers = next(r for r in reversed(records) if r["kind"] == "topology")["layers"]
    assert layers["agent.fc1"]["nnz"] == 428
    assert {"density", "replaced", "age_mean", "age_max", "idle_outputs", "idle_inputs"} <= layers[
        "agent.fc1"
    ].keys()
    assert list((run / "tb").glob("events.*"))
    agent = load_file(run / "checkpoints" / manifest["checkpoint"] / "agent.safetensors")
    assert int(np.count_nonzero(agent["fc1.weight"])) <= 428 == int(agent["fc1.mask"].sum())
    assert not list((run / "replay").iterdir())
    assert not any(path.suffix in (".pt", ".pkl", ".pth") for path in run.rglob("*"))


def test_the_three_commands_work_in_a_row(trained: Path) -> None:
    """cli.md: train, `export --format onnx`, `evaluate --runtime csr`; the csr export is made on the way."""
    call = mast_edge_in(trained)
    for exports in (trained / "runs").glob("*/exports"):
        shutil.rmtree(exports)
    assert call("export", "--format", "onnx").returncode == 0
    judged = call("evaluate", "--runtime", "csr", "--episodes", "10")
    assert "made the csr export, which was missing" in judged.stderr
    assert judged.returncode in (6, 7), judged.stderr


def test_export_then_evaluate_in_every_runtime(trained: Path) -> None:
    call = mast_edge_in(trained)
    exported = call("export", "--format", "all", "--json", "--no-measure")
    assert exported.returncode == 0, exported.stderr
    files = {f["format"]: f for f in json.loads(exported.stdout)["files"]}
    assert files.keys() == {"csr", "onnx", "onnx_sparse", "c"}
    assert all(f["argmax_agreement"] == 1.0 and f["max_abs_q_error"] < 1e-4 for f in files.values())
    assert files["csr"]["bytes"] < 25_000
    for runtime in ("csr", "onnx", "numpy", "c"):
        judged = call("evaluate", "--runtime", runtime, "--reference", "torch", "--episodes", "100", "--json")
        verdict = json.loads(judged.stdout)
        assert judged.returncode == 0, judged.stderr
        assert verdict["decision"] == "pass"
        assert verdict["action_agreement"] == 1.0
        assert verdict["discordant"] == {"lost": 0, "gained": 0}


def test_evaluate_compares_with_the_dense_run_by_default(trained: Path) -> None:
    call = mast_edge_in(trained)
    assert call("export", "--format", "csr", "--no-measure").returncode == 0
    judged = call("evaluate", "--runtime", "csr", "--episodes", "40", "--json")
    verdict = json.loads(judged.stdout)
    assert "dense" in verdict["reference"]
    # Two untrained teams that lose every battle: nothing is shown by equal losses.
    assert (judged.returncode, verdict["decision"]) == (7, "inconclusive")


def test_a_battle_can_be_watched_with_the_exported_agent(trained: Path) -> None:
    call = mast_edge_in(trained)
    assert call("export", "--format", "csr", "--out", "agents", "--no-measure").returncode == 0
    played = call("play", "3m", "--policy", "agents/csr/agent.safetensors", "--episodes", "3", "--json")
    assert json.loads(played.stdout)["episodes"] == 3


def _damaged(trained: Path, change: str) -> str:
    call = mast_edge_in(trained)
    assert call("export", "--format", "csr", "--out", change).returncode == 0
    path = trained / change / "csr" / "agent.safetensors"
    data = bytearray(path.read_bytes())
    if change == "truncated":
        data = data[: len(data) // 2]
    else:
        data[len(data) * 3 // 4] ^= 0x10
    path.write_bytes(bytes(data))
    return str(path)


@pytest.mark.parametrize("change", ["truncated", "flipped"])
def test_a_damaged_artifact_is_refused(trained: Path, change: str) -> None:
    refused = mast_edge_in(trained)("evaluate", "--artifact", _damaged(trained, change))
    assert refused.returncode == 5
    assert len(refused.stderr.strip().splitlines()) == 1
    assert "Traceback" not in refused.stderr


SMAC = ("--set", "env.backend=smac")


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["train", str(CONFIG), "--set", "env.map=3n"], 4, "3m"),
        (["train", str(CONFIG), "--set", "optim.lrr=1"], 4, "optim.lr"),
        (["train", str(CONFIG), "--set", "gamma=high"], 4, "gamma"),
        (["train", str(CONFIG), *SMAC, "--set", "env.smac.python=/nowhere"], 8, "/nowhere"),
        (["train", "missing.yaml"], 3, "missing.yaml"),
        (["export", "--format", "csr"], 3, "mast-edge train"),
        (["evaluate", "--run", "nothing"], 3, "mast-edge train"),
        (["evaluate", "--runtime", "abacus"], 2, "abacus"),
    ],
)
def test_bad_input_is_one_line_and_leaves_nothing(tmp_path: Path, arguments, code, said) -> None:
    done = mast_edge_in(tmp_path)(*arguments)
    assert done.returncode == code, done.stderr
    assert said in done.stderr
    assert "Traceback" not in done.stderr
    assert code == 2 or len(done.stderr.strip().splitlines()) == 1
    assert list(tmp_path.iterdir()) == []


HEAD = "env: {map: 3m}\nt_max: 1000\n"
"""The mistakes below stand on the third line."""


@pytest.mark.parametrize(
    ("mistake", "said"),
    [
        ("algorithm: qmixx", "algorithm must be one of"),
        ("topology: {pattern: 8x2}", "one of 4x1, 8x1, element"),
        ("topology: {pattern: {mixer.hyper: 8x1}}", "a network (agent, mixer, cagent, cmixer)"),
        ("topology: {snapshots: [0.5, 0.25]}", "greater than the share before it (0.5)"),
        ("topology: {ticket: mastt, ticket_init: originall}", "one of fresh, original; got 'originall'"),
        ("topology: {ticket_init: original}", "topology.ticket_init must be fresh"),
        ("topology: {ticket: dense}", "a method with masks"),
        ("target: {operator: soft_melowmax}", "soft_mellowmax, softmax; got 'soft_melowmax'"),
        ("target: {returns: one_step, lambda: 0.5}", "target.lambda must be 0"),
        ("replay: {dynamic: true, min_capacity: 3}", "at least replay.batch_size (32)"),
        ("replay: {max_step: 100}", "Did you mean 'max_steps'?"),
        ("rollout: {updates_per_episode: 0}", "rollout.updates_per_episode must be"),
        ("log: {tensorboard: 1}", "log.tensorboard must be"),
        ("res: {penalty: -0.1}", "res.penalty must be"),
    ],
)
def test_a_mistake_in_a_file_is_named_with_its_line(
    call: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mistake: str, said: str
) -> None:
    path = tmp_path / "mistaken.yaml"
    path.write_text(HEAD + mistake + "\n")
    monkeypatch.chdir(tmp_path)
    answer = call("train", "mistaken.yaml")
    assert answer.code == 4, answer.err
    (line,) = answer.err.strip().splitlines()
    assert line.startswith("mast-edge: mistaken.yaml:3")
    assert said in line
    assert answer.out == ""
    assert os.listdir(tmp_path) == ["mistaken.yaml"]


def _everything(root: Path) -> dict[str, int]:
    return {str(path): path.stat().st_mtime_ns for path in root.rglob("*")}


def test_a_ticket_that_cannot_be_had_is_refused_and_leaves_nothing(
    call: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = tmp_path / "runs"
    path = tmp_path / "ticket.yaml"
    path.write_text(json.dumps({**SMALL, "method": "ss", "t_max": 200}))
    missing = call("train", str(path), "--set", "topology.ticket=mast")
    assert missing.code == 3
    assert "runs: run must be a name under" in missing.err
    assert not root.exists()

    other = small(t_max=200, env={"map": "2s3z"})
    advance(other, root)
    name = folder(other, root).name
    before = _everything(tmp_path)
    for extra, said in (
        ((), "must be a complete run of qmix on 3m at sparsity 0.8; got "),
        (("--set", "env.map=2s3z", "--set", "sparsity=0.9"), "at sparsity 0.9; got "),
        (
            ("--set", "env.map=2s3z", "--set", "network.hidden_dim=24"),
            "Choose a run with the same network widths",
        ),
    ):
        wrong = call("train", str(path), "--set", f"topology.ticket={name}", *extra)
        assert wrong.code == 4, wrong.err
        (line,) = [line for line in wrong.err.splitlines() if line.startswith("mast-edge: ")]
        assert said in line
        assert name in line
        assert _everything(tmp_path) == before
