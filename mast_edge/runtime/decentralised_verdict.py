"""What agents in processes of their own add to an evaluation: who starts them, and what is said of them.

Source: parity_and_safety.md 5, "whether agents ran decentralised".
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np

from mast_edge.errors import UsageError
from mast_edge.runtime.agent import Agent
from mast_edge.runtime.agent_launch import Launcher
from mast_edge.runtime.contest import MakeEnv, Progress
from mast_edge.runtime.decentralised import STEP_SECONDS, DecentralisedTeam
from mast_edge.runtime.designs import Decision
from mast_edge.runtime.match import FIRST_SEED, play_rounds
from mast_edge.runtime.opponents import Candidate
from mast_edge.runtime.team import LoneTeam

BATTLES = 5
"""Played one by one before it is the reference's turn and progress is told; divides every look."""
LONGEST_STEP_SECONDS = 60.0


def check_step_seconds(seconds: float | None) -> float:
    """How long an answer may take: `STEP_SECONDS` for None.

    Raises:
        UsageError: not in (0, 60].
    """
    if seconds is None:
        return STEP_SECONDS
    if not 0 < seconds <= LONGEST_STEP_SECONDS:
        raise UsageError(
            f"evaluate: step timeout must be above 0 and at most {LONGEST_STEP_SECONDS:g} seconds; "
            f"got {seconds:g}."
        )
    return seconds


@contextmanager
def agents_apart(candidate: Candidate, step_seconds: float) -> Iterator[DecentralisedTeam]:
    """The candidate's agents, one process each, which end with this context.

    Raises:
        MastEdgeError: they do not start.
    """
    agent = candidate.agent
    launcher = Launcher(candidate.path, candidate.runtime, agent.spec, agent.model.sha256)
    try:
        team = DecentralisedTeam(launcher.start, agent.spec, step_seconds=step_seconds)
        try:
            yield team
        finally:
            team.close()
    finally:
        launcher.close()


def facts_apart(
    make_env: MakeEnv | None,
    agent: Agent,
    team: DecentralisedTeam,
    on_progress: Callable[[Progress], None] | None = None,
) -> dict[str, Any]:
    """The `decentralised` object of the verdict: what the team has counted, and the comparison.

    Args:
        make_env: None where battles cannot be played again.
        agent, team, on_progress: as in `compare_in_process`.
    """
    compared: dict[str, Any] = {"in_process_identical": None, "in_process_differ": None}
    if make_env is not None:
        compared |= compare_in_process(make_env, agent, team, on_progress)
    return team.facts() | compared


def compare_in_process(
    make_env: MakeEnv,
    agent: Agent,
    team: DecentralisedTeam,
    on_progress: Callable[[Progress], None] | None = None,
) -> dict[str, int]:
    """Plays every battle of `team` again with its agents in this process, each called alone.

    Args:
        make_env: of a game in which equal seeds give equal battles.
        agent: what every process plays.
        team: has played the evaluation seeds from the first on.
        on_progress: called after every few battles.

    Returns:
        `in_process_identical`: battles in which every action was the same; `in_process_differ`: battles that
        went differently although every agent had answered every time.
    """
    identical = differ = wins = 0
    played, lone = team.battles, LoneTeam(agent)
    for first in range(0, len(played), BATTLES):
        apart = played[first : first + BATTLES]
        here = play_rounds(make_env, lone, len(apart), FIRST_SEED + first)
        for b, battle in enumerate(apart):
            same = np.array_equal(battle.actions, here.actions[: here.length[b], b])
            identical += same
            differ += not same and not battle.replaced
        wins += int(here.won.sum())
        if on_progress is not None:
            on_progress(Progress("in process", first + len(apart), len(played), wins))
    return {"in_process_identical": identical, "in_process_differ": differ}


def qualified(decision: Decision, reason: str, facts: Mapping[str, Any]) -> tuple[Decision, str]:
    """Decision and reason of the contest, in the light of how the processes did.

    Battles count as they were played: decisions that were replaced are part of the outcome, so that a pass
    holds in spite of them and a failure may be due to them. Either way the reason names them. Agents that
    answered and yet played differently than in one process are not the agents that were judged: a failure.
    """
    if facts["in_process_differ"]:
        return "fail", (
            f"the agents' processes acted otherwise than the same agents in one process in "
            f"{facts['in_process_differ']} of {facts['battles']} battles, and had answered every time"
        )
    if not facts["replaced"]:
        return decision, reason
    return decision, f"{reason}; {_replaced(facts)}, and these count as played"


def not_tested_apart(facts: Mapping[str, Any]) -> tuple[str, ...]:
    """What such an evaluation says nothing about."""
    said = []
    if facts["in_process_identical"] is None:
        said.append("whether the processes act as agents in one process do: the game has no seeds to repeat")
    if facts["replaced"]:
        said.append(f"the agents without their faults: {_replaced(facts)}")
    return tuple(said)


def decentralised_rows(facts: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Rows of the table for people."""
    n, memory = facts["processes"], [b for b in facts["resident_bytes"] if b]
    held = f", {max(memory) / 1e6:.0f} MB resident each when idle" if memory else ""
    rows = [("agents", f"{n} processes, protocol {facts['protocol']}{held}")]
    if times := facts["round_trip_us"]:
        each = f"all {n} asked, all answers read"
        rows.append(("one step", f"{times['median']:.0f} us median, {times['p99']:.0f} us p99: {each}"))
    rows.append(("answers", _answers(facts)))
    rows += [
        (f"agent {place['agent_id']}", f"{place['replaced']:,} replaced; {place['last_fault']}")
        for place in facts["places"]
        if place["last_fault"]
    ]
    if facts["in_process_identical"] is not None:
        same = f"{facts['in_process_identical']} of {facts['battles']} battles, every action"
        rows.append(("as in one process", same))
    return rows


def _answers(facts: Mapping[str, Any]) -> str:
    if not facts["replaced"]:
        return f"all {facts['decisions']:,} decisions"
    agents = f"{facts['lost']} agents lost, {facts['restarts']} started anew, {facts['given_up']} given up"
    return f"{_replaced(facts)}; {agents}"


def _replaced(facts: Mapping[str, Any]) -> str:
    return f"{facts['replaced']:,} of {facts['decisions']:,} decisions were replaced by no-op or stop"
