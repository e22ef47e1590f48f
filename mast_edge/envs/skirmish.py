"""The embedded battle simulator: SMAC's maps and interface without StarCraft II."""

import secrets
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mast_edge.envs.base import Step
from mast_edge.envs.maps import env_spec, native_interface, native_world, smac_map
from mast_edge.envs.options import SmacOptions
from mast_edge.envs.units import unit_types
from mast_edge.errors import ConfigError
from mast_edge.native import _core

UNIT_DTYPE = np.dtype(
    [
        ("x", "f8"),
        ("y", "f8"),
        ("health", "f8"),
        ("shield", "f8"),
        ("energy", "f8"),
        ("cooldown", "f8"),
        ("kind", "i4"),
        ("alive", "?"),
        ("order", "i4"),
        ("target", "i4"),
        ("goal_x", "f8"),
        ("goal_y", "f8"),
    ]
)
"""One unit: position in map units, vitals, cooldown in loops, index into `unit_names`, alive, order (index
into `ORDERS`), target (unit number, agents first; -1 none), and the point of a move or attack-move."""

SIMULATOR_VERSION = 2
"""Changes when the same seed and actions no longer give the same battle. 1: marines only, no sidestep."""

ORDERS = ("stand", "move", "attack", "attack-move", "heal")


class Skirmish:
    """A batch of independent battles; see `mast_edge.envs.base.BatchEnv`.

    Not to be called from two threads at once; a step releases the interpreter lock.

    Attributes:
        seed: seed of environment 0; environment b has seed + b.
        unit_names: unit types, by the `kind` of `units()`.
        ally_types, enemy_types: unit type per index.
        max_reward: divisor of the reward scale.
        played: (E, N) int64, what the agents did in the last step: the caller's actions, or with
            `heuristic_ai` those of the heuristic (0: it had no target and changed nothing).

    Source: smac.md 2 to 6 (interface), 9 (physics).
    """

    seeded = True

    def __init__(
        self,
        map_name: str,
        n_envs: int = 1,
        *,
        seed: int | None = None,
        profile: str = "liberty",
        threads: int = 1,
        **options: object,
    ) -> None:
        """Creates the battles; nothing can be played before `reset`.

        Args:
            map_name: a SMAC map that the simulator plays.
            n_envs: E >= 1.
            seed: 0 <= seed < 2**64; None draws one.
            profile: unit data, `liberty` or `void`.
            threads: processor cores that share the battles, >= 1; the battles do not depend on it.
            options: see `SmacOptions`.

        Raises:
            ConfigError: unknown map, option or profile, or a value out of range.
        """
        for name, value in (("n_envs", n_envs), ("threads", threads), ("seed", 0 if seed is None else seed)):
            if not isinstance(value, int | np.integer):
                raise ConfigError(f"skirmish: {name} must be a whole number; got {value!r}.")
        if n_envs < 1:
            raise ConfigError(f"skirmish: n_envs must be at least 1; got {n_envs}.")
        if not 1 <= threads <= 256:
            raise ConfigError(f"skirmish: threads must be in 1..256; got {threads}.")
        if seed is not None and not 0 <= seed < 2**64:
            raise ConfigError(f"skirmish: seed must be in 0..2**64-1; got {seed}.")
        self.options = SmacOptions.of(options)
        smac = smac_map(map_name)
        units = unit_types(profile)
        world = native_world(smac, units, self.options.spawn_jitter)
        face = native_interface(smac, self.options, units)
        self.seed = secrets.randbits(32) if seed is None else seed
        self.profile = profile
        self.spec = env_spec(map_name, self.options)
        self.n_envs = n_envs
        self.unit_names = smac.unit_names
        self.ally_types, self.enemy_types = smac.ally_types, smac.enemy_types
        self.max_reward = face.max_reward
        self.walkable = smac.walkable
        self._core = _core.Simulator(world, face, n_envs, self.seed, self.options.step_mul, threads)
        spec = self.spec
        self.obs = np.zeros((n_envs, spec.n_agents, spec.obs_dim), dtype=np.float32)
        self.state = np.zeros((n_envs, spec.state_dim), dtype=np.float32)
        self.avail = np.zeros((n_envs, spec.n_agents, spec.n_actions), dtype=np.uint8)
        self.played = np.zeros((n_envs, spec.n_agents), dtype=np.int64)

    def reset(self, which: NDArray[np.bool_] | None = None) -> None:
        """Starts the next episode in the environments marked by `which` (E,), all when None."""
        self._core.reset(self._marks(which), self.obs, self.state, self.avail)

    def begin_at(self, episode: int) -> None:
        """Makes the next `reset` of every environment begin a given episode; until then none can be stepped.

        Args:
            episode: its number, 0 <= episode < 2**32; a new environment begins with 0.

        Raises:
            ConfigError: the number is out of range.

        Source: smac.md 9.1 (draws are indexed by the episode, so none depends on those before it).
        """
        if not 0 <= episode < 2**32:
            raise ConfigError(f"skirmish: episode must be in 0..2**32-1; got {episode}.")
        self._core.begin_at(episode)

    def step(self, actions: NDArray[np.int64], which: NDArray[np.bool_] | None = None) -> Step:
        """Plays actions (E, N) in the marked environments, all when None; the others stay as they are.

        With `heuristic_ai` the caller's actions need not be available: they become the last actions that obs
        and state show, and `played` says what was done.

        Deviation: SMAC overwrites the caller's actions with the heuristic's. Here the array may be part of a
        replay buffer and is left alone; `mast_edge.envs.single.StarCraft2Env` does as SMAC does.

        Raises:
            ValueError: an action is not available (names environment, agent, action and what was), or the
                episode is over; nothing has changed then.
        """
        chosen = np.asarray(actions)
        if chosen.dtype.kind not in "iu":
            raise ValueError(f"skirmish: actions must be whole numbers; got {chosen.dtype}.")
        n = self.n_envs
        if chosen.shape != (n, self.spec.n_agents):
            raise ValueError(
                f"skirmish: shape of actions must be {(n, self.spec.n_agents)}; got {chosen.shape}."
            )
        reward = np.zeros(n)
        flags = np.zeros((3, n), dtype=np.bool_)
        dead = np.zeros((2, n), dtype=np.int32)
        played = np.array(chosen, dtype=np.int64, order="C")
        self._core.step(
            played,
            self._marks(which),
            self.obs,
            self.state,
            self.avail,
            reward,
            flags,
            dead,
        )
        self.played = played
        return Step(reward, flags[0], flags[1], flags[2], dead[0], dead[1])

    def snapshot(self) -> NDArray[np.uint8]:
        """(E, bytes): everything, random state included; `restore` brings it back exactly."""
        blocks = np.empty((self.n_envs, self._core.block_size), dtype=np.uint8)
        self._core.save(blocks)
        return blocks

    def restore(self, snapshot: NDArray[np.uint8]) -> None:
        """Inverse of `snapshot`, refreshing obs, state and avail.

        Raises:
            ValueError: the snapshot is not one of this map and version; nothing has changed then.
        """
        if snapshot.dtype != np.uint8 or snapshot.shape != (self.n_envs, self._core.block_size):
            raise ValueError(
                f"skirmish: snapshot must be uint8 {(self.n_envs, self._core.block_size)}; "
                f"got {snapshot.dtype} {snapshot.shape}."
            )
        self._core.restore(np.ascontiguousarray(snapshot))
        self._core.refresh(self.obs, self.state, self.avail)

    def units(self) -> NDArray[Any]:
        """(E, N + enemies) of `UNIT_DTYPE`: every unit as it is now, agents first."""
        n_units = len(self.ally_types) + len(self.enemy_types)
        table = np.empty((self.n_envs, n_units, len(UNIT_DTYPE.names or ())))
        self._core.units(table)
        units = np.empty(table.shape[:2], dtype=UNIT_DTYPE)
        for column, name in enumerate(UNIT_DTYPE.names or ()):
            units[name] = table[..., column]
        return units

    def visibility(self) -> NDArray[np.bool_]:
        """(E, N, N + enemies): which units each agent sees, agents first; never itself (smac.md 5)."""
        n_units = len(self.ally_types) + len(self.enemy_types)
        visible = np.empty((self.n_envs, self.spec.n_agents, n_units), np.uint8)
        self._core.visibility(visible)
        return visible.astype(np.bool_)

    def stats(self) -> dict[str, NDArray[np.int64]]:
        """Per environment (E,): episodes begun, steps and loops of the present one, over, battles won and
        finished, and how many of them timed out."""
        table = np.empty((self.n_envs, 7), dtype=np.int64)
        self._core.counters(table)
        names = ("episodes", "steps", "loops", "over", "battles_won", "battles_game", "timeouts")
        return {name: table[:, column].copy() for column, name in enumerate(names)}

    def close(self) -> None:
        """Nothing to release: the battles live in memory."""

    def _marks(self, which: NDArray[np.bool_] | None) -> NDArray[np.bool_] | None:
        if which is None:
            return None
        marks = np.asarray(which)
        if marks.dtype != np.bool_:
            raise ValueError(f"skirmish: which must be bool; got {marks.dtype}.")
        if marks.shape != (self.n_envs,):
            raise ValueError(f"skirmish: shape of which must be {(self.n_envs,)}; got {marks.shape}.")
        return np.ascontiguousarray(marks)
