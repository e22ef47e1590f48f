"""Plays a map with a scripted or exported policy, for numbers or for the eye."""

import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from mast_edge.envs.scripted import NearestPolicy, RandomPolicy
from mast_edge.envs.skirmish import Skirmish
from mast_edge.errors import UsageError
from mast_edge.runtime.ascii_battle import AsciiBattle
from mast_edge.runtime.match import BATCH, Outcomes, Team, play_batch
from mast_edge.runtime.parity import wilson
from mast_edge.runtime.team import load_team
from mast_edge.runtime.verdict import shown_path

if TYPE_CHECKING:
    from rich.table import Table

SCHEMA = "mast-edge/play/1"
SCRIPTED = ("random", "nearest")
RENDERINGS = ("ascii",)

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
    console: Any = None,
    on_progress: Callable[[int, int, int], None] | None = None,
) -> dict[str, Any]:
    """Plays episodes and counts.

    Args:
        map_name: a map that the embedded simulator plays.
        policy: "random", "nearest", or the path of an exported agent or checkpoint folder.
        episodes: at least 1; episode i is the first one of environment seed `seed + i`.
        seed: of the environments, and of random play.
        render: None, or "ascii" to draw every battle, one after the other.
        console: `rich.console.Console` to draw on; standard output when None.
        on_progress: called with episodes done, episodes asked for, battles won.

    Returns:
        The object of `mast-edge play --json` (cli.md).

    Raises:
        UsageError: episodes below 1, a seed below 0 or an unknown rendering.
        ConfigError, EnvironmentUnavailable: the map is unknown or cannot be played here.
        MissingInput, ArtifactRefused: the policy's path holds nothing that can play this map.
    """
    if episodes < 1:
        raise UsageError(f"play: episodes must be at least 1; got {episodes}.")
    if seed < 0:
        raise UsageError(f"play: seed must be at least 0; got {seed}.")
    if render is not None and render not in RENDERINGS:
        raise UsageError(f"play: render must be one of {', '.join(RENDERINGS)}; got '{render}'.")
    make_team = team_maker(policy, seed)
    batches: list[Outcomes] = []
    steps, started, drawing, done = 0, time.perf_counter(), 0.0, 0
    with ExitStack() as stack:
        screen = stack.enter_context(_screen(console, episodes)) if render else None
        while done < episodes:
            size = 1 if screen else min(BATCH, episodes - done)
            env = Skirmish(map_name, size, seed=seed + done)
            outcomes = play_batch(env, make_team(env), screen.watch(env) if screen else None)
            if screen:
                screen.finish(
                    env, bool(outcomes.won[0]), bool(outcomes.timed_out[0]), int(outcomes.length[0])
                )
            env.close()
            batches.append(outcomes)
            steps, done = steps + int(outcomes.length.sum()), done + size
            if on_progress is not None:
                on_progress(done, episodes, sum(int(b.won.sum()) for b in batches))
        drawing = screen.seconds if screen else 0.0
    return _report(map_name, policy, batches, steps / (time.perf_counter() - started - drawing))


def play_table(result: Mapping[str, Any]) -> "Table":
    """The result of `play` for people."""
    from rich.table import Table
    from rich.text import Text

    low, high = result["win_rate_ci95"]
    table = Table(
        title=f"{result['map']}, {result['episodes']:,} battles", title_justify="left", show_header=False
    )
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


def _screen(console: Any, episodes: int) -> AsciiBattle:
    from rich.console import Console

    return AsciiBattle(Console() if console is None else console, episodes)


def _report(map_name: str, policy: str, batches: list[Outcomes], steps_per_second: float) -> dict[str, Any]:
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
    }
