"""Plays a replay back, for the numbers or for the eye."""

import time
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import numpy as np

from mast_edge.envs.replay import Replay, load_replay
from mast_edge.runtime.match import Outcomes
from mast_edge.runtime.play import report
from mast_edge.runtime.screen import Screen, ending_of, open_screen


def watch_replay(
    path: str | Path,
    *,
    render: str | None = None,
    out: str | Path | None = None,
    console: Any = None,
    on_frame: Callable[[int, int], None] | None = None,
) -> dict[str, Any]:
    """Plays a replay back.

    Args:
        path: the file.
        render, out, console, on_frame: as of `play`; a film goes to the replay's name with .gif by default.

    Returns:
        The object of `mast-edge play --json`; `policy` is the path.

    Raises:
        MissingInput, ArtifactRefused: there is no such file, or it is not a whole replay of this version.
        UsageError: unknown rendering, or nowhere to write.
        MissingExtra: "gif" without Pillow.
    """
    replay = load_replay(path)
    film = out or f"{Path(path).stem}.gif"
    opened = open_screen(render, film, 1, console, on_frame)
    with opened or nullcontext() as screen:
        started = time.perf_counter()
        outcomes = _play_back(replay, screen)
        seconds = time.perf_counter() - started - (screen.seconds if screen else 0.0)
    speed = float(outcomes.length[0]) / seconds
    written = {"film": str(film)} if render == "gif" else {}
    return report(replay.map_name, str(path), [outcomes], speed) | written


def _play_back(replay: Replay, screen: Screen | None) -> Outcomes:
    env = replay.environment()
    env.reset()
    observe = screen.watch(env) if screen else None
    total, won, timed_out, over = 0.0, False, False, False
    for number, actions in enumerate(replay.actions.astype(np.int64)[:, None]):
        if observe is not None:
            observe(number, actions)
        step = env.step(actions)
        total += float(step.reward[0])
        won, timed_out, over = bool(step.battle_won[0]), bool(step.timed_out[0]), bool(step.terminated[0])
    if screen is not None:
        screen.finish(env, ending_of(won, timed_out, over), len(replay.actions))
    return Outcomes(
        np.array([won]),
        np.array([timed_out]),
        np.array([len(replay.actions)]),
        np.array([total]),
        replay.actions[:, None],
    )
