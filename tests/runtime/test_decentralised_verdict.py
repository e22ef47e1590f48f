"""`evaluate --decentralised`: what is compared and said; faults are never passed over in silence."""

import json
import os
import signal
import sys
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from mast_edge.cli import cli
from mast_edge.errors import UsageError
from mast_edge.exits import run as run_command
from mast_edge.runtime.decentralised_verdict import (
    check_step_seconds,
    decentralised_rows,
    not_tested_apart,
    qualified,
)
from mast_edge.runtime.evaluate import evaluate
from mast_edge.runtime.verdict_table import verdict_table
from tests.envs.fake_games import FakeGames
from tests.runtime.agents import export_csr, make_run
from tests.runtime.apart import children, wait_until

FIELDS = {
    *(
        "protocol",
        "processes",
        "battles",
        "steps",
        "decisions",
        "resident_bytes",
        "replaced",
        "lost",
        "restarts",
    ),
    *("given_up", "round_trip_us", "in_process_identical", "in_process_differ", "places", "step_seconds"),
}


@pytest.fixture
def lone_run(tmp_path):
    run = make_run(tmp_path / "runs")
    export_csr(run)
    return run


def shown(verdict):
    console = Console(width=160)
    with console.capture() as capture:
        console.print(verdict_table(verdict))
    return capture.get()


def test_the_candidate_plays_through_processes_as_it_plays_in_one(tmp_path, lone_run):
    seen: list[Any] = []
    patient = {"decentralised": True, "step_seconds": 20.0}
    apart = evaluate(root=tmp_path / "runs", episodes=12, on_progress=seen.append, **patient)
    assert not children()
    together = evaluate(root=tmp_path / "runs", episodes=12)
    assert (apart.wins, apart.pairs, apart.identical) == (together.wins, together.pairs, together.identical)
    result = apart.to_json()
    facts = result["decentralised"]
    assert set(facts) == FIELDS
    assert (facts["processes"], facts["battles"], facts["in_process_identical"]) == (3, 12, 12)
    assert (facts["replaced"], facts["in_process_differ"]) == (0, 0)
    assert len(facts["resident_bytes"]) == len(facts["places"]) == 3
    assert result["reason"] == together.to_json()["reason"]
    assert result["not_tested"] == together.to_json()["not_tested"]
    # Told after every five battles, not at the end of a batch.
    assert [(p.stage, p.done) for p in seen if p.stage != "shadow"] == [
        *(("contest", n) for n in (5, 10, 12)),
        *(("in process", n) for n in (5, 10, 12)),
    ]
    assert apart.saved != together.saved
    assert json.loads(apart.saved.read_text())["decentralised"] == json.loads(json.dumps(facts))
    assert "one process each" in apart.saved.with_suffix(".md").read_text()
    assert together.to_json()["decentralised"] is False
    text = shown(apart)
    for part in ("3 processes, protocol 1", "MB resident each", "all 3 asked", "12 of 12 battles"):
        assert part in text


@pytest.mark.slow
def test_killed_agents_are_in_the_reason_the_table_and_what_was_not_tested(tmp_path, lone_run):
    def kill_one(progress):
        if progress.stage == "contest" and progress.done == 5:
            os.kill(min(children()), signal.SIGKILL)

    asked = {"root": tmp_path / "runs", "episodes": 40, "margin": 0.1}
    verdict = evaluate(decentralised=True, step_seconds=20.0, on_progress=kill_one, **asked)
    facts = verdict.to_json()["decentralised"]
    # Between two battles: START finds it gone, and another takes its place before a decision is missed.
    assert (facts["lost"], facts["restarts"], facts["replaced"]) == (1, 1, 0)
    assert verdict.decision == "pass"
    assert facts["in_process_identical"] == 40
    assert "must be open" in shown(verdict)


def test_agents_that_do_not_answer_in_time_are_no_silent_verdict(tmp_path, lone_run):
    """So short a time that only what happens to be there when the host looks is used."""
    verdict = evaluate(root=tmp_path / "runs", episodes=3, decentralised=True, step_seconds=1e-6)
    facts = verdict.to_json()["decentralised"]
    assert facts["replaced"] > 0.1 * facts["decisions"]
    said = f"{facts['replaced']:,} of {facts['decisions']:,} decisions were replaced by no-op or stop"
    assert said in verdict.reason
    assert any(said in line for line in verdict.not_tested)
    assert said in shown(verdict).replace("\n", " ")
    assert facts["in_process_differ"] == 0


def facts(**changes):
    return {
        **{"processes": 3, "protocol": 1, "battles": 250, "decisions": 3000, "replaced": 0, "lost": 0},
        **{"restarts": 0, "given_up": 0, "resident_bytes": [36e6, None, 38e6], "round_trip_us": None},
        **{"in_process_identical": 250, "in_process_differ": 0, "places": []},
        **changes,
    }


@pytest.mark.parametrize("decision", ["pass", "fail", "inconclusive"])
def test_replaced_decisions_are_named_whatever_was_decided(decision):
    assert qualified(decision, "so", facts()) == (decision, "so")
    kept, reason = qualified(decision, "so", facts(replaced=12, in_process_identical=249))
    assert kept == decision
    assert reason == ("so; 12 of 3,000 decisions were replaced by no-op or stop, and these count as played")


def test_processes_that_act_otherwise_never_pass():
    decision, reason = qualified("pass", "so", facts(in_process_identical=247, in_process_differ=3))
    assert decision == "fail"
    assert "in 3 of 250 battles" in reason


def test_what_is_not_tested():
    assert not_tested_apart(facts()) == ()
    unseeded, replaced = not_tested_apart(facts(in_process_identical=None, replaced=1))
    assert "no seeds" in unseeded
    assert "1 of 3,000" in replaced


def test_rows_name_the_places_where_something_happened():
    place = {"agent_id": 1, "replaced": 1234, "last_fault": "no answer in time"}
    calm = {"agent_id": 0, "replaced": 0, "last_fault": None}
    rows = dict(decentralised_rows(facts(replaced=1234, lost=2, restarts=1, places=[calm, place])))
    assert rows["agents"] == "3 processes, protocol 1, 38 MB resident each when idle"
    assert rows["agent 1"] == "1,234 replaced; no answer in time"
    assert "agent 0" not in rows
    assert "2 agents lost, 1 started anew, 0 given up" in rows["answers"]


@pytest.mark.parametrize("seconds", [0.0, -1.0, 60.1, float("nan"), float("inf")])
def test_times_that_make_no_sense(seconds):
    with pytest.raises(UsageError, match="step timeout must be above 0 and at most 60 seconds; got"):
        check_step_seconds(seconds)
    assert check_step_seconds(None) == 1.0
    assert check_step_seconds(60.0) == 60.0


@pytest.mark.slow
def test_one_game_of_starcraft_is_played_apart(tmp_path, lone_run, monkeypatch):
    games = FakeGames(tmp_path / "games")
    games.environ["MAST_EDGE_SMAC_PYTHON"] = sys.executable
    for name, value in games.environ.items():
        monkeypatch.setenv(name, value)
    asked = {"env": "smac", "episodes": 4, "decentralised": True, "step_seconds": 20.0}
    verdict = evaluate(root=tmp_path / "runs", **asked)
    facts = verdict.to_json()["decentralised"]
    assert games.processes() == []
    assert (verdict.env, verdict.pairs.n, facts["battles"], facts["replaced"]) == ("smac", 4, 4, 0)
    assert facts["in_process_identical"] is None
    assert any("no seeds to repeat" in line for line in verdict.not_tested)


# the command


def test_the_command_prints_the_object(call, tmp_path, lone_run):
    answer = call("evaluate", "--decentralised", "--episodes", "6", "--json", "--step-timeout", "20")
    assert answer.code == 7
    assert set(answer.json["decentralised"]) == FIELDS
    assert answer.json["decentralised"]["step_seconds"] == 20.0
    assert answer.json["decentralised"]["in_process_identical"] == 6


@pytest.mark.parametrize(
    ("options", "text"),
    [
        (["--step-timeout", "1"], "--step-timeout needs --decentralised"),
        (["--decentralised", "--step-timeout", "0"], "step timeout must be above 0"),
        (["--decentralised", "--step-timeout", "soon"], "not a valid float"),
    ],
)
def test_usage(call, lone_run, options, text):
    answer = call("evaluate", *options)
    assert (answer.code, answer.err.count("\n")) == (2, answer.err.count("\n"))
    assert text in answer.err


def test_help_shows_it(call):
    text = call("evaluate", "--help").out
    assert "--decentralised --json" in text
    assert "--step-timeout SECONDS" in text


def test_ctrl_c_ends_the_agents_too(tmp_path, lone_run, monkeypatch):
    monkeypatch.setenv("MAST_EDGE_RUNS", str(tmp_path / "runs"))

    def interrupt(*_):
        if children():
            os.kill(os.getpid(), signal.SIGINT)

    monkeypatch.setattr("mast_edge.console.EpisodeDisplay.__call__", interrupt)
    assert run_command(cli, ["evaluate", "--decentralised", "--quiet"]) == 130
    assert wait_until(lambda: not children())
    assert not list(Path(lone_run).glob("eval/*"))
