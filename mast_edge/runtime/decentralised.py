"""A team whose agents are processes, or devices: each is sent its own observation, each answers alone.

An agent that does not answer, or not with an action it may take, is replaced for that decision: by no-op when
it is dead, by stop when it lives. Nothing that an agent does can stop a battle.

Source: parity_and_safety.md 5 (decentralised execution); docs/agent-protocol.md.
"""

import contextlib
import time
from array import array
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mast_edge.errors import MastEdgeError
from mast_edge.runtime.agent_launch import BYE_SECONDS, Running, end_processes
from mast_edge.runtime.place import Place
from mast_edge.runtime.wire import (
    FRAME_BYTES,
    HEADER_BYTES,
    MAX_SEQUENCE,
    VERSION,
    Kind,
    Sizes,
    WireError,
    frame,
    seal,
    step_bytes,
)
from mast_edge.spec import AgentSpec

STEP_SECONDS = 1.0
"""Time for the answers to one step."""
GRACE = 0.05
"""Share of it for an agent that did not answer last time."""
MOST_RESTARTS = 3
"""Of one place in the team."""

Start = Callable[[Sequence[int]], list[Running]]
"""Agents for these places, in order; raises MastEdgeError when they cannot be had."""


class StepFrames:
    """The STEP messages of N agents, in memory that is used again at every step.

    Attributes:
        frames: one per agent.
    """

    def __init__(self, spec: AgentSpec) -> None:
        """For agents of these sizes."""
        n, payload = spec.n_agents, step_bytes(spec.obs_dim, spec.n_actions)
        rows = np.zeros((n, -(-(FRAME_BYTES + payload) // 4) * 4), np.uint8)
        end = HEADER_BYTES + 4 * spec.obs_dim
        self._obs = rows[:, HEADER_BYTES:end].view("<f4")
        self._avail = rows[:, end : end + spec.n_actions]
        self.frames = [row.data[: FRAME_BYTES + payload] for row in rows]

    def fill(self, sequence: int, obs: NDArray[np.float32], avail: NDArray[np.uint8]) -> None:
        """Each agent's own row of obs (N, O) and avail (N, A) into its frame."""
        self._obs[:] = obs
        self._avail[:] = avail
        for one in self.frames:
            seal(one, Kind.STEP, sequence)


@dataclass
class Battle:
    """What was played in one battle. `steps`: actions (N,) of each; `replaced`: decisions no agent took."""

    steps: list[NDArray[np.int16]] = field(default_factory=list)
    replaced: int = 0

    @property
    def actions(self) -> NDArray[np.int16]:
        """(T, N)."""
        return np.array(self.steps, np.int16)


class DecentralisedTeam:
    """A `Team` of one process per agent. It plays one battle at a time.

    Attributes:
        at_once: battles that can be played side by side: 1.
        places: one per agent.
        battles: what was played, in order.
    """

    at_once = 1

    def __init__(self, start: Start, spec: AgentSpec, *, step_seconds: float = STEP_SECONDS) -> None:
        """Starts one agent per place.

        Args:
            start: makes agents, here and when one is lost (`Launcher.start`).
            spec: sizes of the game.
            step_seconds: how long an answer may take.

        Raises:
            MastEdgeError: they do not start.
        """
        self._start, self._step_seconds = start, step_seconds
        ids = range(spec.n_agents)
        sizes = [Sizes(spec.obs_dim, spec.n_actions, spec.n_agents, i) for i in ids]
        self.places = [Place(*pair) for pair in zip(sizes, start(ids), strict=True)]
        self.battles: list[Battle] = []
        self._steps = StepFrames(spec)
        self._sequence = 0
        self._microseconds = array("f")

    def start(self, n_envs: int) -> None:
        """See `Team`: a new battle. Lost agents are started anew, each place at most `MOST_RESTARTS` times.

        Raises:
            ValueError: more than one battle at once.
        """
        if n_envs != 1:
            raise ValueError(f"DecentralisedTeam: battles at once must be 1; got {n_envs}. Play one by one.")
        self.battles.append(Battle())
        waiting = list(self.places)
        while waiting:
            for place in waiting:
                self._fill(place)
            self._sequence = (self._sequence + 1) & MAX_SEQUENCE
            start = frame(Kind.START, self._sequence)
            deadline = time.monotonic() + max(self._step_seconds, STEP_SECONDS)
            asked = [place for place in waiting if place.send(start, deadline)]
            for place in asked:
                if place.answer(Kind.STARTED, self._sequence, deadline) is None:
                    place.lose(place.last_fault)
            waiting = [p for p in waiting if p.running is None and p.restarts < MOST_RESTARTS]

    def act(
        self, obs: NDArray[np.float32], avail: NDArray[np.uint8], playing: NDArray[np.bool_]
    ) -> NDArray[np.int64]:
        """See `Team`: E is 1. All agents are asked before the first answer is waited for."""
        self._sequence = (self._sequence + 1) & MAX_SEQUENCE
        sequence, places = self._sequence, self.places
        began = time.perf_counter_ns()
        now = time.monotonic()
        deadline, short = now + self._step_seconds, now + GRACE * self._step_seconds
        self._steps.fill(sequence, obs[0], avail[0])
        asked = [
            (place, until)
            for place, step in zip(places, self._steps.frames, strict=True)
            if place.send(step, until := short if place.misses else deadline)
        ]
        # The lowest available action is no-op for the dead and stop for the living (smac.md).
        actions: NDArray[np.int64] = avail.argmax(axis=2).astype(np.int64)
        decided = np.zeros(len(places), bool)
        for place, until in asked:
            action, i = place.answer(Kind.ACTION, sequence, until), place.sizes.agent_id
            if action is None:
                continue
            if action < place.sizes.n_actions and avail[0, i, action]:
                actions[0, i], decided[i] = action, True
            else:
                place.last_fault = f"action must be an available one; got {action}"
        self._microseconds.append((time.perf_counter_ns() - began) / 1000)
        battle = self.battles[-1]
        if not decided.all():
            battle.replaced += int((~decided).sum())
            for place in (places[i] for i in np.flatnonzero(~decided)):
                until = time.monotonic() + GRACE * self._step_seconds
                place.replace(sequence, int(actions[0, place.sizes.agent_id]), until)
        battle.steps.append(actions[0].astype(np.int16))
        return actions

    @property
    def replaced(self) -> int:
        """Decisions that no agent took."""
        return sum(place.replaced for place in self.places)

    def facts(self) -> dict[str, Any]:
        """What happened, for the verdict; times are of a whole step: all agents asked, all answers read."""
        steps = len(self._microseconds)
        times = [float(q) for q in np.quantile(self._microseconds, (0.5, 0.99))] if steps else None
        places = [place.facts() for place in self.places]
        return {
            "protocol": VERSION,
            "processes": len(places),
            "battles": len(self.battles),
            "resident_bytes": [place["resident_bytes"] for place in places],
            "steps": steps,
            "decisions": steps * len(places),
            "replaced": self.replaced,
            "lost": sum(place.lost for place in self.places),
            "restarts": sum(place.restarts for place in self.places),
            "given_up": sum(p.running is None and p.restarts >= MOST_RESTARTS for p in self.places),
            "step_seconds": self._step_seconds,
            "round_trip_us": None if times is None else {"median": times[0], "p99": times[1]},
            "places": places,
        }

    def close(self) -> None:
        """Says goodbye and waits until every process has ended; who does not go is killed."""
        bye = frame(Kind.BYE, 0)
        for place in self.places:
            if place.running is not None:
                with contextlib.suppress(WireError, TimeoutError):
                    place.running.connection.send(bye, time.monotonic())
                place.running.connection.close()
        running = [place.running for place in self.places if place.running is not None]
        end_processes([one.process for one in running], BYE_SECONDS)
        for place in self.places:
            place.running = None

    def _fill(self, place: Place) -> None:
        if place.running is not None or place.restarts >= MOST_RESTARTS:
            return
        place.restarts += 1
        try:
            place.fill(self._start([place.sizes.agent_id])[0])
        except MastEdgeError as error:
            place.last_fault = str(error)
