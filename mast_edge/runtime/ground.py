"""Where evaluation episodes are played: fresh simulators for every batch, or games that stay open."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mast_edge.config import load_config
from mast_edge.config_fields import Env
from mast_edge.envs.base import BatchEnv, Step
from mast_edge.envs.making import make_battles, played_by
from mast_edge.errors import UsageError
from mast_edge.registry import ENVIRONMENTS, resolve
from mast_edge.runtime.contest import MakeEnv
from mast_edge.runtime.match import BATCH, FIRST_SEED
from mast_edge.runtime.opponents import Candidate


class Lent:
    """Games that outlive their borrower: `close` gives them back and leaves them open."""

    def __init__(self, env: BatchEnv) -> None:
        """Lends `env`."""
        self._env = env
        self.seeded, self.spec, self.n_envs = env.seeded, env.spec, env.n_envs
        self.obs, self.state, self.avail = env.obs, env.state, env.avail

    def reset(self, which: NDArray[np.bool_] | None = None) -> None:
        """See `BatchEnv`."""
        self._env.reset(which)

    def step(self, actions: NDArray[np.int64], which: NDArray[np.bool_] | None = None) -> Step:
        """See `BatchEnv`."""
        return self._env.step(actions, which)

    def snapshot(self) -> NDArray[np.uint8]:
        """See `BatchEnv`."""
        return self._env.snapshot()

    def restore(self, snapshot: NDArray[np.uint8]) -> None:
        """See `BatchEnv`."""
        self._env.restore(snapshot)

    def close(self) -> None:
        """Gives the games back."""


@dataclass
class Ground:
    """Where both sides play.

    Attributes:
        backend: name of registry.ENVIRONMENTS.
        make_env: environments for a batch of episodes.
        seeded: equal seeds give equal battles, so that episodes can be paired.
        batch: episodes of one side before it is the other's turn.
        facts: versions of the game; None in the simulator.
    """

    backend: str
    make_env: MakeEnv
    seeded: bool = True
    batch: int = BATCH
    facts: dict[str, Any] | None = None
    kept: BatchEnv | None = None

    def close(self) -> None:
        """Ends games that were kept open."""
        if self.kept is not None:
            self.kept.close()


def open_ground(backend: str, candidate: Candidate, one_by_one: int | None = None) -> Ground:
    """Environments like those the candidate was trained in: its run's options when the run is known.

    Args:
        backend: "skirmish" or "smac".
        candidate: what is judged.
        one_by_one: for a candidate that plays one battle at a time: how many of them before it is the other
            side's turn. Of games that stay open only one is then opened, and each side plays one battle.

    Raises:
        UsageError: no such backend.
        EnvironmentUnavailable: StarCraft II or SMAC is missing, or the map cannot be played here.
    """
    resolve("environment", ENVIRONMENTS, backend, error=UsageError)
    game = Env(map=candidate.agent.contract.map_name)
    if candidate.run is not None and (config := candidate.run.path / "config.resolved.yaml").is_file():
        game = load_config(config, environ={}).env
    game = played_by(game, backend)
    if backend != "smac":
        return Ground(backend, lambda n, seed: make_battles(game, n, seed), batch=one_by_one or BATCH)
    from mast_edge.envs.smac import Smac

    games = make_battles(game, 1 if one_by_one else game.smac.evaluation_games, FIRST_SEED)
    facts = games.facts if isinstance(games, Smac) else None
    return Ground(backend, lambda n, seed: Lent(games), False, games.n_envs, facts, games)
