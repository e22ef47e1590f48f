"""train, export, evaluate: the three commands as written, one after another."""

import json
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

from tests.end_to_end.conftest import CONFIG, SHORT, mast_edge_in


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
    assert {"loss", "grad_norm", "return", "epsilon", "replaced"} <= records[-1].keys() | records[-2].keys()
    assert list((run / "tb").glob("events.*"))
    agent = load_file(run / "checkpoints" / manifest["checkpoint"] / "agent.safetensors")
    assert int(np.count_nonzero(agent["fc1.weight"])) <= 428 == int(agent["fc1.mask"].sum())
    assert not list((run / "replay").iterdir())
    assert not any(path.suffix in (".pt", ".pkl", ".pth") for path in run.rglob("*"))


def test_export_then_evaluate_in_both_runtimes(trained: Path) -> None:
    call = mast_edge_in(trained)
    exported = call("export", "--format", "all", "--json")
    assert exported.returncode == 0, exported.stderr
    files = {f["format"]: f for f in json.loads(exported.stdout)["files"]}
    assert files.keys() == {"csr", "onnx"}
    assert all(f["argmax_agreement"] == 1.0 and f["max_abs_q_error"] < 1e-4 for f in files.values())
    assert files["csr"]["bytes"] < 25_000
    for runtime in ("csr", "onnx", "numpy"):
        judged = call("evaluate", "--runtime", runtime, "--reference", "torch", "--episodes", "100", "--json")
        verdict = json.loads(judged.stdout)
        assert judged.returncode == 0, judged.stderr
        assert verdict["decision"] == "pass"
        assert verdict["action_agreement"] == 1.0
        assert verdict["discordant"] == {"lost": 0, "gained": 0}


def test_evaluate_compares_with_the_dense_run_by_default(trained: Path) -> None:
    call = mast_edge_in(trained)
    assert call("export", "--format", "csr").returncode == 0
    judged = call("evaluate", "--runtime", "csr", "--episodes", "40", "--json")
    verdict = json.loads(judged.stdout)
    assert "dense" in verdict["reference"]
    # Two untrained teams that lose every battle: nothing is shown by equal losses.
    assert (judged.returncode, verdict["decision"]) == (7, "inconclusive")


def test_a_battle_can_be_watched_with_the_exported_agent(trained: Path) -> None:
    call = mast_edge_in(trained)
    assert call("export", "--format", "csr", "--out", "agents").returncode == 0
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
