"""Real StarCraft II: a batch of games played by oxwhirl/smac, each in a worker process of its own."""

import dataclasses
import os
import threading
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mast_edge.config_fields import SmacGames
from mast_edge.envs.base import Step
from mast_edge.envs.maps import env_spec, smac_map
from mast_edge.envs.options import SmacOptions
from mast_edge.envs.smac_answers import Shown, Stepped
from mast_edge.envs.smac_install import interpreter, require_game
from mast_edge.envs.smac_supervisor import Launch, SupervisedGame
from mast_edge.errors import ConfigError, EnvironmentUnavailable
from mast_edge.spec import EnvSpec

NOOP = 0
COUNTED = ("battles_won", "battles_game", "timeouts")


class Smac:
    """A batch of StarCraft II games; see `mast_edge.envs.base.BatchEnv`.

    The games start at creation, in parallel, and their first episode with them; the first `reset` takes it.
    A game that breaks loses its episode (`Step.lost`) and is started again at the next `reset`, after a pause
    that grows, at most `restart_limit` times an hour. Not to be called from two threads at once.

    Attributes:
        seeded: False: the game takes its seed once, at its start, so an episode cannot be repeated.
        spec: sizes; obs and state lengths are those of the arrays that came, not those declared.
        facts: versions of SMAC, of its Python and of the game.

    Source: smac.md 4 to 6, 10, 11; parity_and_safety.md 3, 6.
    """

    seeded = False

    def __init__(
        self,
        map_name: str,
        n_envs: int = 1,
        *,
        seed: int | None = None,
        games: SmacGames | None = None,
        environ: Mapping[str, str] | None = None,
        **options: object,
    ) -> None:
        """Starts the games.

        Args:
            map_name: a SMAC map.
            n_envs: E >= 1 games, each a process with a StarCraft II of its own.
            seed: game b starts from seed + b (modulo 2**31); None lets each game choose.
            games: interpreter, time limits, restarts; the defaults when None.
            environ: environment variables of the workers; this process's when None.
            options: see `SmacOptions`; those that differ from SMAC's defaults are passed on.

        Raises:
            ConfigError: unknown map or option, or a value out of range.
            EnvironmentUnavailable: interpreter, package, game or map is missing, or the game does not start.
        """
        if n_envs < 1:
            raise ConfigError(f"smac: n_envs must be at least 1; got {n_envs}.")
        chosen = SmacOptions.of(options)
        smac_map(map_name)
        self.n_envs = n_envs
        variables = dict(os.environ if environ is None else environ)
        settings = SmacGames() if games is None else games
        python = interpreter(settings.python, variables)
        require_game(map_name, variables)
        spec = env_spec(map_name, chosen, "smac")
        launch = Launch(
            python=python,
            environ=variables,
            map_name=map_name,
            options=changed_options(chosen),
            n_agents=spec.n_agents,
            n_actions=spec.n_actions,
            declared=declared_sizes(map_name, chosen),
            games=settings,
        )
        self._stop = threading.Event()
        first = int.from_bytes(os.urandom(4), "little") if seed is None else seed
        self._games = [SupervisedGame(launch, first + b, self._stop) for b in range(n_envs)]
        self._over = np.ones(n_envs, dtype=np.bool_)
        self._counts = {name: np.zeros(n_envs, np.int64) for name in COUNTED}
        try:
            shown = self._reset_games(range(n_envs))
            o, s = self._real_lengths(spec, launch.declared)
        except BaseException:
            self.close()
            raise
        self.spec = dataclasses.replace(spec, obs_dim=o, state_dim=s)
        self.facts: dict[str, Any] = dict(self._games[0].facts)
        self.obs = np.zeros((n_envs, spec.n_agents, o), dtype=np.float32)
        self.state = np.zeros((n_envs, s), dtype=np.float32)
        self.avail = np.zeros((n_envs, spec.n_agents, spec.n_actions), dtype=np.uint8)
        self._fresh = np.ones(n_envs, dtype=np.bool_)
        for b, seen in enumerate(shown):
            self._show(b, seen)

    def reset(self, which: NDArray[np.bool_] | None = None) -> None:
        """Starts the next episode in the games marked by `which` (E,), all when None, in parallel.

        Raises:
            EnvironmentUnavailable: a game broke too often.
        """
        marked = self._marked(which)
        wanted = np.flatnonzero(marked & ~self._fresh).tolist()
        for b, seen in zip(wanted, self._reset_games(wanted), strict=True):
            self._show(b, seen)
        self._fresh &= ~marked
        self._over &= ~marked

    def step(self, actions: NDArray[np.int64], which: NDArray[np.bool_] | None = None) -> Step:
        """Plays actions (E, N) in the marked games, all when None; all of them play at the same time.

        Raises:
            ValueError: an action is not available (names environment, agent, action and what was), or the
                episode is over; nothing has changed then.
            EnvironmentUnavailable: a game broke too often.
        """
        chosen, marked = np.asarray(actions), self._marked(which)
        self._check(chosen, marked)
        playing = np.flatnonzero(marked).tolist()
        deadlines = [self._games[b].begin_step(chosen[b].tolist()) for b in playing]
        n = self.n_envs
        reward, flags, dead = np.zeros(n), np.zeros((4, n), np.bool_), np.zeros((2, n), np.int32)
        for b, deadline in zip(playing, deadlines, strict=True):
            stepped = self._games[b].end_step(deadline)
            if stepped is None:
                self._lose(b)
                flags[:, b] = (True, False, False, True)
                continue
            self._show(b, stepped.shown)
            reward[b] = stepped.reward
            flags[:3, b] = (stepped.terminated, stepped.timed_out, stepped.battle_won)
            dead[:, b] = (stepped.dead_allies, stepped.dead_enemies)
            self._count(b, stepped)
        return Step(reward, flags[0], flags[1], flags[2], dead[0], dead[1], flags[3])

    def snapshot(self) -> NDArray[np.uint8]:
        """Not possible: the game keeps its state to itself.

        Raises:
            EnvironmentUnavailable: always.
        """
        raise EnvironmentUnavailable(
            "smac: snapshot must be of the embedded simulator; got StarCraft II, which has none. "
            "Use env.backend=skirmish where exact save and restore is needed."
        )

    def restore(self, snapshot: NDArray[np.uint8]) -> None:
        """Not possible, see `snapshot`.

        Raises:
            EnvironmentUnavailable: always.
        """
        self.snapshot()

    def stats(self) -> dict[str, NDArray[Any]]:
        """Per game (E,): SMAC's `get_stats`, counted here so that it outlives a game, and lost episodes.

        Source: smac.md 5. `battles_draw` counts timeouts there as well.
        Deviation: win_rate is 0 before the first finished battle, where SMAC divides by zero.
        """
        finished = self._counts["battles_game"]
        return {
            **{name: count.copy() for name, count in self._counts.items()},
            "battles_draw": self._counts["timeouts"].copy(),
            "win_rate": self._counts["battles_won"] / np.maximum(1, finished),
            "restarts": np.array([game.restarts for game in self._games]),
            "lost": np.array([game.lost for game in self._games]),
        }

    def close(self) -> None:
        """Ends all games and every process that they started. Harmless when called twice."""
        self._stop.set()
        with ThreadPoolExecutor(max_workers=self.n_envs) as pool:
            list(pool.map(SupervisedGame.end, self._games))

    def _reset_games(self, which: Sequence[int]) -> list[Shown]:
        if len(which) <= 1:
            return [self._games[b].reset() for b in which]
        with ThreadPoolExecutor(max_workers=len(which)) as pool:
            waiting = [pool.submit(self._games[b].reset) for b in which]
            try:
                return [future.result() for future in waiting]
            except BaseException:
                self._stop.set()  # the others need not wait for their game any more
                raise

    def _real_lengths(self, spec: EnvSpec, declared: Mapping[str, int]) -> tuple[int, int]:
        """O and S as they came: those of smac.md 4, or those declared, by a SMAC that mends its quirk."""
        came = {game.lengths for game in self._games}
        known = {(spec.obs_dim, spec.state_dim), (declared["obs_shape"], declared["state_shape"])}
        lengths = came.pop()
        if came or lengths is None or lengths not in known:
            raise EnvironmentUnavailable(
                f"smac: obs and state must have lengths {sorted(known)}; got {lengths}. "
                "Use oxwhirl/smac with its own maps."
            )
        return lengths

    def _check(self, actions: NDArray[Any], marked: NDArray[np.bool_]) -> None:
        n_agents, n_actions = self.spec.n_agents, self.spec.n_actions
        if actions.shape != (self.n_envs, n_agents) or actions.dtype.kind not in "iu":
            raise ValueError(
                f"smac: actions must be whole numbers ({self.n_envs}, {n_agents}); "
                f"got {actions.dtype} {actions.shape}."
            )
        if (marked & self._over).any():
            b = int(np.flatnonzero(marked & self._over)[0])
            raise ValueError(f"smac: episode of environment {b} must be running; got one that is over.")
        for b in np.flatnonzero(marked).tolist():
            for agent, action in enumerate(actions[b].tolist()):
                if not 0 <= action < n_actions or not self.avail[b, agent, action]:
                    available = np.flatnonzero(self.avail[b, agent]).tolist()
                    raise ValueError(
                        f"smac: action of environment {b}, agent {agent} must be one of {available}; "
                        f"got {action}."
                    )

    def _show(self, b: int, seen: Shown) -> None:
        self.obs[b], self.state[b], self.avail[b] = seen.obs, seen.state, seen.avail

    def _lose(self, b: int) -> None:
        """Shows nothing, as for a battle whose agents are all dead."""
        self.obs[b], self.state[b], self.avail[b] = 0, 0, 0
        self.avail[b, :, NOOP] = 1
        self._over[b] = True

    def _count(self, b: int, stepped: Stepped) -> None:
        if stepped.terminated:
            self._over[b] = True
            self._counts["battles_game"][b] += 1
            self._counts["battles_won"][b] += stepped.battle_won
            self._counts["timeouts"][b] += stepped.timed_out

    def _marked(self, which: NDArray[np.bool_] | None) -> NDArray[np.bool_]:
        if which is None:
            return np.ones(self.n_envs, dtype=np.bool_)
        marks = np.asarray(which)
        if marks.dtype != np.bool_ or marks.shape != (self.n_envs,):
            raise ValueError(f"smac: which must be bool ({self.n_envs},); got {marks.dtype} {marks.shape}.")
        return marks


def changed_options(options: SmacOptions) -> dict[str, Any]:
    """The options that differ from SMAC's defaults; an older SMAC need not know the others.

    Raises:
        ConfigError: the simulator's own option is set.
    """
    if not options.spawn_jitter:
        raise ConfigError("smac: option spawn_jitter must be left out; got false. Only skirmish has it.")
    return {
        field.name: getattr(options, field.name)
        for field in dataclasses.fields(options)
        if getattr(options, field.name) != field.default
    }


def declared_sizes(map_name: str, options: SmacOptions) -> dict[str, int]:
    """What `get_env_info` must declare: with `obs_timestep_number` less than is returned (smac.md 4)."""
    spec = env_spec(map_name, options)
    quirk = 1 if options.obs_timestep_number else 0
    whole = quirk * spec.n_agents if options.obs_instead_of_state else 0
    return {
        "n_agents": spec.n_agents,
        "n_actions": spec.n_actions,
        "obs_shape": spec.obs_dim - quirk,
        "state_shape": spec.state_dim - whole,
        "episode_limit": spec.episode_limit,
    }
