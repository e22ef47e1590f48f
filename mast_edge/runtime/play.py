"""Plays a map with a scripted or exported policy, for numbers or for the eye."""

import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from mast_edge.envs.scripted import NearestPolicy, RandomPolicy
from mast_edge.envs.skirmish import SIMULATOR_VERSION, Skirmish
from mast_edge.errors import UsageError
from mast_edge.runtime.match import BATCH, Outcomes, Team, play_batch
from mast_edge.runtime.parity import wilson
from mast_edge.runtime.recording import Recorder
from mast_edge.runtime.screen import Screen, ending_of, open_screen
from mast_edge.runtime.team import load_team
from mast_edge.runtime.verdict import shown_path

if TYPE_CHECKING:
    from rich.table import Table

SCHEMA = "mast-edge/play/1"
SCRIPTED = ("random", "nearest")

MakeTeam = Callable[[Skirmish], Team]


class ScriptedTeam:
    """A policy that looks at the whole environment, as a team."""

    def __init__(self, policy: RandomPolicy | NearestPolicy, env: Skirmish) -> None:
        """Plays `policy` in `env`."""
        self._policy, self._env = policy, env

    def start(self, n_envs: int) -> None:
        """Scripted policies remember nothing."""

    def act(
        self, obs: NDArray[np.float32], avail: NDArray[np.uint8], playing: NDArray[np.bool_]
    ) -> NDArray[np.int64]:
        """Actions (E, N)."""
        return self._policy.act(self._env)


def play(
    map_name: str,
    policy: str = "nearest",
    episodes: int = 100,
    seed: int = 0,
    *,
    render: str | None = None,
    out: str | Path | None = None,
    save_replay: str | Path | None = None,
    console: Any = None,
    on_progress: Callable[[int, int, int], None] | None = None,
    on_frame: Callable[[int, int], None] | None = None,
) -> dict[str, Any]:
    """Plays episodes and counts.

    Args:
        map_name: a map that the embedded simulator plays.
        policy: "random", "nearest", or the path of an exported agent or checkpoint folder.
        episodes: at least 1; episode i is the first one of environment seed `seed + i` (modulo 2**64).
        seed: of the environments, and of random play.
        render: None, "ascii" to draw the battles in the terminal, one after the other, or "gif" to film them.
        out: file of the film; MAP.gif in the working directory when None.
        save_replay: a file ending in .replay takes the first episode, any other path is a folder that takes
            each; see `Recorder`.
        console: `rich.console.Console` to draw on; standard output when None.
        on_progress: called with episodes done, episodes asked for, battles won.
        on_frame: called with frames drawn and frames in all while an episode is filmed.

    Returns:
        The object of `mast-edge play --json` (cli.md); with `film` and `replays`, the paths of what was
        written.

    Raises:
        UsageError: episodes below 1, a seed out of range, an unknown rendering or nowhere to write.
        MissingExtra: "gif" without Pillow.
        ConfigError, EnvironmentUnavailable: the map is unknown or cannot be played here.
        MissingInput, ArtifactRefused: the policy's path holds nothing that can play this map.
    """
    if episodes < 1:
        raise UsageError(f"play: episodes must be at least 1; got {episodes}.")
    if not 0 <= seed < 2**64:
        raise UsageError(f"play: seed must be in 0..2**64-1; got {seed}.")
    make_team = team_maker(policy, seed)
    batches: list[Outcomes] = []
    seconds, done = 0.0, 0
    recorder = Recorder(save_replay) if save_replay is not None else None
    with ExitStack() as stack:
        film = out or f"{map_name}.gif"
        opened = open_screen(render, film, episodes, console, on_frame)
        screen = stack.enter_context(opened) if opened is not None else None
        while done < episodes:
            size = 1 if screen else min(BATCH, episodes - done)
            env = Skirmish(map_name, size, seed=(seed + done) % 2**64)
            team, started = make_team(env), time.perf_counter()
            outcomes = play_on(env, team, screen)
            seconds += time.perf_counter() - started
            if recorder is not None:
                recorder.take(env, outcomes)
            env.close()
            batches.append(outcomes)
            done += size
            if on_progress is not None:
                on_progress(done, episodes, sum(int(b.won.sum()) for b in batches))
        seconds -= screen.seconds if screen else 0.0
    speed = sum(int(batch.length.sum()) for batch in batches) / seconds
    written = {"film": str(film)} if render == "gif" else {}
    if recorder is not None:
        written["replays"] = str(save_replay)
    return report(map_name, policy, batches, speed) | written


def play_on(env: Skirmish, team: Team, screen: Screen | None) -> Outcomes:
    """One episode in every environment; a screen, where there is one, shows the first of them."""
    outcomes = play_batch(env, team, screen.watch(env) if screen else None)
    if screen:
        ending = ending_of(bool(outcomes.won[0]), bool(outcomes.timed_out[0]))
        screen.finish(env, ending, int(outcomes.length[0]))
    return outcomes


def play_table(result: Mapping[str, Any]) -> "Table":
    """The result of `play` for people."""
    from rich.table import Table
    from rich.text import Text

    low, high = result["win_rate_ci95"]
    battles = f"{result['episodes']:,} battle{'s' * (result['episodes'] > 1)}"
    table = Table(title=f"{result['map']}, {battles}", title_justify="left", show_header=False)
    table.add_column("", style="bold", no_wrap=True)
    table.add_column("", overflow="fold")
    for label, text in (
        ("policy", shown_path(result["policy"])),
        ("won", f"{100 * result['win_rate']:.1f} %  95 % [{100 * low:.1f}, {100 * high:.1f}]"),
        ("mean return", f"{result['mean_return']:.2f}"),
        ("mean length", f"{result['mean_length']:.1f} steps"),
        ("speed", f"{result['env_steps_per_second']:,.0f} environment steps per second"),
    ):
        table.add_row(label, Text(text))
    return table


def team_maker(policy: str, seed: int) -> MakeTeam:
    """How to make the team that `policy` names; an agent's file is read once."""
    if policy == "random":
        rng = np.random.default_rng(seed)
        return lambda env: ScriptedTeam(RandomPolicy(rng), env)
    if policy == "nearest":
        return lambda env: ScriptedTeam(NearestPolicy(), env)
    return load_team(policy, also=SCRIPTED)


def report(map_name: str, policy: str, batches: list[Outcomes], steps_per_second: float) -> dict[str, Any]:
    """The object of `mast-edge play --json` (cli.md), with more fields."""
    won, returns, length = (
        np.concatenate([getattr(batch, name) for batch in batches]) for name in ("won", "returns", "length")
    )
    return {
        "schema": SCHEMA,
        "map": map_name,
        "policy": policy,
        "episodes": len(won),
        "win_rate": float(won.mean()),
        "win_rate_ci95": list(wilson(int(won.sum()), len(won))),
        "mean_return": float(returns.mean()),
        "mean_length": float(length.mean()),
        "env_steps_per_second": steps_per_second,
        "simulator": SIMULATOR_VERSION,
    }
