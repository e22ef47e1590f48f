"""From a run folder to a verdict on 3m: who is compared, what is decided, what is written and refused."""

import json
import subprocess
import sys

import pytest
from rich.console import Console

from mast_edge.envs.maps import env_spec
from mast_edge.envs.skirmish import SIMULATOR_VERSION
from mast_edge.errors import (
    ArtifactContract,
    ArtifactCorrupt,
    ArtifactInconsistent,
    EnvironmentUnavailable,
    MissingInput,
    UsageError,
)
from mast_edge.export import export_run
from mast_edge.runs import RunFolder, find_run
from mast_edge.runtime.evaluate import evaluate
from mast_edge.runtime.match import FIRST_SEED, seed_list_sha256
from mast_edge.runtime.opponents import missing_export
from mast_edge.runtime.verdict_card import verdict_card
from mast_edge.runtime.verdict_table import verdict_table
from tests.runtime.agents import (
    add_step,
    export_csr,
    focus_fire,
    make_config,
    make_run,
    random_agent,
    run_away,
)

CONTRACT = {
    *("schema", "run", "artifact", "runtime", "reference", "env", "map", "episodes", "win_rate"),
    *("win_rate_ci95", "reference_win_rate", "difference", "difference_ci90", "margin", "discordant"),
    *("action_agreement", "max_abs_q_error", "certified_fraction", "decision", "latency_us"),
}


@pytest.fixture
def lone_run(tmp_path):
    run = make_run(tmp_path)
    export_csr(run)
    return run


def shown(verdict):
    console = Console(width=120)
    with console.capture() as capture:
        console.print(verdict_table(verdict))
    return capture.get()


def test_identical_weights_pass_as_fidelity(tmp_path, lone_run):
    told, progress = [], []
    verdict = evaluate(root=tmp_path, on_remark=told.append, on_progress=progress.append)
    assert (verdict.decision, verdict.exit_code, verdict.judged) == ("pass", 0, "fidelity")
    result = verdict.to_json()
    assert set(result) >= CONTRACT
    assert result["schema"] == "mast-edge/evaluate/1"
    assert (result["run"], result["map"], result["episodes"]) == (lone_run.name, "3m", 250)
    assert result["difference"] == 0.0
    assert result["discordant"] == {"lost": 0, "gained": 0}
    assert result["action_agreement"] == 1.0
    assert result["identical_episodes"] == 250
    assert "every decision equal in 125 episodes" in result["reason"]
    assert 0 < result["max_abs_q_error"] < 1e-5
    assert result["certified_fraction"] > 0.99
    assert result["fidelity"]["certified_flips"] == 0
    assert result["fidelity"]["hidden_drift"] < 1e-5
    assert result["latency_us"]["median"] <= result["latency_us"]["p99"]
    assert result["seeds"] == {"first": 2**32, "count": 2000, "sha256": seed_list_sha256(FIRST_SEED, 2000)}
    assert lone_run.name in told[0]
    assert told[1].startswith("playing with csr, native: fc1 dense, ")
    assert "fidelity" in told[2]
    assert [p.stage for p in progress] == ["shadow", "contest", "contest"]
    assert json.loads(verdict.saved.read_text()) == json.loads(json.dumps(result))
    assert result["simulator"] == SIMULATOR_VERSION
    assert verdict.saved.parent == lone_run / "eval"
    assert verdict.saved.name.startswith("csr-")
    assert verdict.saved.with_suffix(".md").read_text() == verdict_card(result)
    assert result["design"]["name"] == "pocock"
    assert (result["design"]["alpha"], result["design"]["bounds"]) == (0.05, [2.201] * 5)
    assert [look["pairs"] for look in result["design"]["z"]] == [125, 250]


def test_asking_again_writes_the_same_file(tmp_path, lone_run):
    first, second = (evaluate(root=tmp_path, episodes=20) for _ in range(2))
    assert first.saved == second.saved
    other = evaluate(root=tmp_path, episodes=20, margin=0.05)
    assert other.saved != first.saved
    assert first.pairs == second.pairs
    assert untimed(verdict_card(first.to_json())) == untimed(verdict_card(second.to_json()))


def untimed(card):
    """Without the two rows that are measured."""
    return [line for line in card.splitlines() if not line.startswith(("| median", "| p99"))]


def test_an_anytime_design(tmp_path):
    export_csr(make_run(tmp_path, change=focus_fire))
    verdict = evaluate(root=tmp_path, design="anytime")
    assert (verdict.decision, verdict.pairs.n, verdict.design.name) == ("pass", 150, "anytime")
    assert verdict.to_json()["design"]["z"][-1]["e_not_worse"] > 20
    assert "E for parity" in shown(verdict)


def test_every_design_has_a_file_of_its_own(tmp_path):
    export_csr(make_run(tmp_path, change=focus_fire), change=run_away)
    verdicts = [evaluate(root=tmp_path, design=name) for name in ("pocock", "tapered", "anytime")]
    assert [v.decision for v in verdicts] == ["fail"] * 3
    assert len({v.saved for v in verdicts}) == 3
    assert "E against parity" in shown(verdicts[2])
    with pytest.raises(UsageError, match="got 20 and tapered"):
        evaluate(root=tmp_path, design="tapered", episodes=20)


def test_a_rounded_agent_is_judged_by_its_battles(tmp_path):
    """int8: Q differs, and that is reported; whether it still wins as often is what is judged."""

    def wavering(weights):
        kept = {name: array.copy() for name, array in weights.items() if name.endswith(".weight")}
        focus_fire(weights)
        for name, array in kept.items():
            weights[name][:] = array * (0.02 if name == "fc2.weight" else 1.0)

    run = make_run(tmp_path, seed=4, change=wavering)
    export_run(run, ["csr", "c"], precision="int8", measure=False)
    for runtime, path in (("csr", "csr-int8/agent.safetensors"), ("c", "c-int8")):
        verdict = evaluate(artifact=run / "exports" / path, runtime=runtime, root=tmp_path, reference="numpy")
        assert (verdict.judged, verdict.decision) == ("compression", "pass")
        assert "float32 weights" in verdict.reference
        assert "the reference has the same weights" in verdict.not_tested[0]
        assert verdict.certificate.epsilon > 0


def test_few_equal_episodes_are_inconclusive_and_say_how_many_are_needed(tmp_path, lone_run):
    verdict = evaluate(root=tmp_path, episodes=20)
    assert (verdict.decision, verdict.exit_code) == ("inconclusive", 7)
    assert verdict.pairs.difference == 0.0
    assert verdict.episodes_to_settle == 200
    assert verdict.certificate.episodes == 20
    text = shown(verdict)
    assert "INCONCLUSIVE" in text
    assert "--episodes 200" in text


def test_a_damaged_export_fails_as_fidelity(tmp_path):
    run = make_run(tmp_path, change=focus_fire)
    export_csr(run, change=run_away)
    verdict = evaluate(root=tmp_path)
    assert (verdict.judged, verdict.decision, verdict.exit_code) == ("fidelity", "fail", 6)
    assert verdict.pairs.lost > 15
    assert verdict.certificate.agreement < 0.5
    assert verdict.certificate.certified_flips == 0
    assert "FAIL" in shown(verdict)


def test_a_damaged_export_is_never_passed_on_few_episodes(tmp_path):
    run = make_run(tmp_path, change=focus_fire)
    export_csr(run, change=run_away)
    assert evaluate(root=tmp_path, episodes=4).decision in ("fail", "inconclusive")


def test_equal_wins_with_other_weights_are_no_fidelity(tmp_path):
    def shifted(weights):
        focus_fire(weights)
        weights["fc2.bias"] += 0.01

    run = make_run(tmp_path, change=focus_fire)
    export_csr(run, change=shifted)
    verdict = evaluate(root=tmp_path)
    assert verdict.identical == verdict.pairs.n == 250
    assert verdict.certificate.epsilon == pytest.approx(0.01, rel=1e-4)
    assert verdict.decision == "inconclusive"
    assert verdict.episodes_to_settle is None
    assert "more episodes will not" in shown(verdict)


def test_a_dense_run_of_the_map_is_the_default_reference(tmp_path):
    dense = make_run(tmp_path, method="dense", change=focus_fire)
    sparse = make_run(tmp_path, seed=2, change=focus_fire)
    export_csr(sparse)
    verdict = evaluate(run=sparse.name, root=tmp_path)
    assert (verdict.judged, verdict.decision) == ("compression", "pass")
    assert dense.name in verdict.reference
    assert verdict.reference_win_rate > 0.1
    assert verdict.certificate.agreement == 1.0
    assert "as often as the reference" in shown(verdict)


def test_a_worse_policy_fails_against_the_dense_run(tmp_path):
    make_run(tmp_path, method="dense", change=focus_fire)
    sparse = make_run(tmp_path, seed=2, change=run_away)
    export_csr(sparse)
    verdict = evaluate(run=sparse.name, root=tmp_path)
    assert (verdict.judged, verdict.decision) == ("compression", "fail")
    assert verdict.pairs.n == 125
    assert verdict.certificate.agreement == 1.0  # a faithful export of a policy that lost too much
    assert evaluate(run=sparse.name, root=tmp_path, reference="numpy").decision == "pass"


def test_a_reference_that_never_wins_shows_nothing(tmp_path):
    make_run(tmp_path, method="dense", change=run_away)
    sparse = make_run(tmp_path, seed=2, change=run_away)
    export_csr(sparse)
    verdict = evaluate(run=sparse.name, root=tmp_path)
    assert verdict.decision == "inconclusive"
    assert "too rarely" in verdict.reason
    assert "reference that wins" in shown(verdict)


def test_a_named_run_is_the_reference(tmp_path, lone_run):
    other = make_run(tmp_path, seed=5, change=run_away)
    verdict = evaluate(run=lone_run.name, root=tmp_path, reference=other.name, episodes=10)
    assert verdict.judged == "compression"
    assert other.name in verdict.reference
    same = evaluate(run=lone_run.name, root=tmp_path, reference=lone_run.name, episodes=10)
    assert same.judged == "fidelity"


def test_an_artifact_by_path_finds_its_run(tmp_path, lone_run):
    inside = lone_run / "exports" / "csr" / "agent.safetensors"
    verdict = evaluate(artifact=inside, root=tmp_path, episodes=10)
    assert verdict.run == lone_run.name
    assert "step-000001000" in verdict.reference
    away = tmp_path / "agent.safetensors"
    away.write_bytes(inside.read_bytes())
    alone = evaluate(artifact=away, root=tmp_path / "none", episodes=10)
    assert alone.run is None
    assert alone.saved is None
    assert "artifact's own weights" in alone.reference
    assert alone.certificate.agreement == 1.0


def test_numpy_and_torch_runtimes(tmp_path, lone_run):
    for runtime in ("numpy", "torch"):
        verdict = evaluate(root=tmp_path, runtime=runtime, episodes=10)
        assert verdict.certificate.agreement == 1.0
        assert verdict.identical == 10
    assert evaluate(root=tmp_path, reference="torch", episodes=10).certificate.agreement == 1.0


def test_the_exported_files_take_every_action_of_the_torch_agent(tmp_path):
    run = make_run(tmp_path, seed=4)
    export_run(run, ["csr", "onnx"], measure=False)
    for runtime in ("csr", "onnx"):
        verdict = evaluate(root=tmp_path, runtime=runtime, reference="torch", episodes=100)
        assert (verdict.decision, verdict.identical) == ("pass", 100)
        assert (verdict.certificate.agreement, verdict.certificate.flips) == (1.0, ())


def test_exported_c_is_found_whatever_its_prefix(tmp_path):
    run = make_run(tmp_path, seed=4)
    assert missing_export(find_run(run.name, tmp_path), "c") == "c"
    export_run(run, ["c"], prefix="red", measure=False)
    assert missing_export(find_run(run.name, tmp_path), "c") is None
    for named in ({}, {"artifact": run / "exports/c"}, {"artifact": run / "exports/c/red.c"}):
        verdict = evaluate(root=tmp_path, runtime="c", reference="numpy", episodes=10, **named)
        assert (verdict.identical, verdict.certificate.flips) == (10, ())
        assert verdict.certificate.agreement == 1.0


def test_an_export_of_an_older_checkpoint_is_refused(tmp_path, lone_run):
    config, env = make_config(), env_spec("3m")
    with RunFolder.open(config, env, root=tmp_path) as run:
        add_step(run, config, env, *random_agent(env, 0.9, 9), 2000)
    with pytest.raises(ArtifactInconsistent, match=r"step-000002000.*Run: mast-edge export --run"):
        evaluate(run=lone_run.name, root=tmp_path)
    assert not (lone_run / "eval").exists()


def test_a_foreign_artifact_is_refused_for_a_run(tmp_path, lone_run):
    other = export_csr(make_run(tmp_path, seed=7))
    with pytest.raises(ArtifactInconsistent, match="checkpoint must be"):
        evaluate(run=lone_run.name, artifact=other, root=tmp_path)


def test_a_damaged_file_is_refused(tmp_path, lone_run):
    path = lone_run / "exports" / "csr" / "agent.safetensors"
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    with pytest.raises(ArtifactCorrupt):
        evaluate(root=tmp_path)
    assert not (lone_run / "eval").exists()


def test_a_reference_on_another_map_is_refused(tmp_path, lone_run):
    other = make_run(tmp_path, seed=8, map_name="8m")
    with pytest.raises(ArtifactContract, match="reference must play 3m; got 8m"):
        evaluate(run=lone_run.name, root=tmp_path, reference=other.name)


def test_the_environment_must_be_the_one_trained_for(tmp_path):
    config = make_config(env={"map": "3m", "options": {"obs_last_action": True}})
    plain = env_spec("3m")
    spec, weights, masks = random_agent(plain, 0.9, 1)
    with RunFolder.open(config, plain, root=tmp_path) as run:
        add_step(run, config, plain, spec, weights, masks, 1000)
        run.update_manifest(status="complete")
    export_csr(run.path)
    with pytest.raises(ArtifactContract, match="obs_dim"):
        evaluate(root=tmp_path)


@pytest.mark.parametrize(
    ("asked", "error", "message"),
    [
        ({"margin": 0.0}, UsageError, "margin must be between 0 and 1"),
        ({"episodes": 0}, UsageError, "episodes must be at least 1"),
        ({"runtime": "crs"}, UsageError, r"runtime must be one of .*Did you mean 'csr'\?"),
        ({"env": "smac"}, EnvironmentUnavailable, "SC2PATH must be a StarCraft II folder; got /nowhere"),
        ({"env": "chess"}, UsageError, "environment: name must be one of skirmish"),
        (
            {"reference": "dense"},
            MissingInput,
            "complete dense qmix run on 3m; got none. Run: mast-edge train",
        ),
        ({"reference": "nothing"}, MissingInput, "got 'nothing'"),
        ({"run": "nothing"}, MissingInput, "got 'nothing'"),
        ({"runtime": "onnx"}, MissingInput, "must hold a onnx export; got none. Run: mast-edge export"),
        ({"artifact": "nowhere.safetensors"}, MissingInput, "nowhere.safetensors: .* must exist"),
    ],
)
def test_refusals(tmp_path, monkeypatch, lone_run, asked, error, message):
    monkeypatch.setenv("SC2PATH", "/nowhere")
    with pytest.raises(error, match=message):
        evaluate(root=tmp_path, **asked)
    assert not (lone_run / "eval").exists()


def test_a_base_install_is_enough(tmp_path, lone_run):
    """Neither torch, onnx, onnxruntime nor scipy may be needed for `evaluate --runtime csr`."""
    code = f"""
import sys
from pathlib import Path
for name in ("torch", "onnx", "onnxruntime", "scipy"):
    sys.modules[name] = None
from mast_edge.runtime.evaluate import evaluate
verdict = evaluate(root=Path({str(tmp_path)!r}), episodes=5)
print(verdict.exit_code, verdict.certificate.agreement, verdict.kernel.split()[0].rstrip(":"))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stdout.split() == ["7", "1.0", "native"], done.stderr


def test_without_any_run(tmp_path):
    with pytest.raises(MissingInput, match="must hold a complete run; got none"):
        evaluate(root=tmp_path)


def test_the_table_shows_both_parities(tmp_path, lone_run):
    text = shown(evaluate(root=tmp_path, episodes=30))
    for part in (
        "difference",
        "equivalence",
        "no evidence of parity",
        "same actions",
        "largest Q error",
        "us median",
        "StarCraft II",
        "written to",
    ):
        assert part in text
    assert "as often as a dense agent" in text
