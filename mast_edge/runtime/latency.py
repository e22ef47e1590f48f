"""Time of one decision: a pass of its own, after the episodes, on observations from real play."""

from time import perf_counter_ns

import numpy as np
from numpy.typing import NDArray

from mast_edge.runtime.agent import Agent
from mast_edge.runtime.contest import MakeEnv
from mast_edge.runtime.match import FIRST_SEED, play_rounds
from mast_edge.runtime.team import BatchTeam
from mast_edge.runtime.verdict import Latency

CALLS = 2000
WARM_UP = 200


class RecordingTeam(BatchTeam):
    """A team that keeps what the first agent of the first environment saw."""

    def __init__(self, agent: Agent) -> None:
        """See `BatchTeam`."""
        super().__init__(agent)
        self.seen: list[tuple[NDArray[np.float32], NDArray[np.uint8]]] = []

    def act(
        self, obs: NDArray[np.float32], avail: NDArray[np.uint8], playing: NDArray[np.bool_]
    ) -> NDArray[np.int64]:
        """See `Team`."""
        if playing[0]:
            self.seen.append((obs[0, 0].copy(), avail[0, 0].copy()))
        return super().act(obs, avail, playing)


def act_latency(make_env: MakeEnv, agent: Agent, calls: int = CALLS) -> Latency:
    """Times `act` of one agent, call by call, the way a host would make it: arrays in, an int out.

    Args:
        make_env: creates the environment whose first episode is replayed.
        agent: is cloned; input checks and assembly are part of the time.
        calls: timed calls, after `WARM_UP` more.
    """
    team = RecordingTeam(agent)
    play_rounds(make_env, team, 1, FIRST_SEED)
    lone = agent.clone(0)
    taken = np.empty(WARM_UP + calls, np.int64)
    for k in range(len(taken)):
        at = k % len(team.seen)
        if at == 0:
            lone.reset()
        obs, avail = team.seen[at]
        start = perf_counter_ns()
        lone.act(obs, avail)
        taken[k] = perf_counter_ns() - start
    median, p99 = np.quantile(taken[WARM_UP:] / 1000, (0.5, 0.99))
    return Latency(float(median), float(p99), calls)
