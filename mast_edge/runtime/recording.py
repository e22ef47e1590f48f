"""Replays of what was played."""

from pathlib import Path

from mast_edge.envs.replay import SUFFIX, Replay, save_replay
from mast_edge.envs.skirmish import Skirmish
from mast_edge.errors import UsageError
from mast_edge.runtime.match import Outcomes
from mast_edge.runtime.screen import require_writable


class Recorder:
    """Saves replays of the batches it is given."""

    def __init__(self, path: str | Path) -> None:
        """Prepares a place.

        Args:
            path: ending in .replay, a file for the first episode; else a folder, made where there is none,
                for all of them: MAP-seedN.replay, N the environment's seed.

        Raises:
            UsageError: the folder of the file does not exist, or there is a file where a folder should be.
        """
        self._path = Path(path)
        self._only_first = self._path.suffix == SUFFIX
        self._taken = 0
        if self._only_first:
            require_writable("save-replay", self._path)
        else:
            if self._path.exists() and not self._path.is_dir():
                raise UsageError(
                    f"play: save-replay must be a file ending in {SUFFIX} or a folder; got '{self._path}'."
                )
            self._path.mkdir(parents=True, exist_ok=True)

    def take(self, env: Skirmish, outcomes: Outcomes) -> None:
        """Saves what every environment of `env` has just played."""
        for row in range(env.n_envs):
            if self._only_first and self._taken:
                break
            replay = Replay.of(env, outcomes.actions[:, row], row)
            name = f"{replay.map_name}-seed{replay.seed}{SUFFIX}"
            save_replay(self._path if self._only_first else self._path / name, replay)
            self._taken += 1
