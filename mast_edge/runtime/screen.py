"""Where battles are shown: the terminal or a film."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol, Self

from mast_edge.envs.skirmish import Skirmish
from mast_edge.errors import UsageError
from mast_edge.registry import nearest
from mast_edge.runtime.ascii_battle import AsciiBattle
from mast_edge.runtime.gif_battle import GifBattle
from mast_edge.runtime.match import Ending, Observe

RENDERINGS = ("ascii", "gif")


class Screen(Protocol):
    """Shows environment 0 of one episode after another.

    Attributes:
        seconds: time spent on showing, not playing.
    """

    seconds: float

    def __enter__(self) -> Self: ...

    def __exit__(self, *error: object) -> None: ...

    def watch(self, env: Skirmish) -> Observe:
        """The observer of the next episode of `env`, for `runtime.match.play_batch`."""
        ...

    def finish(self, env: Skirmish, ending: Ending, steps: int) -> None:
        """The episode has ended."""
        ...


def require_writable(option: str, path: Path) -> None:
    """Refuses what a whole file cannot be written to: no folder, a folder, a device.

    Args:
        option: name of the option, for the message.
        path: file that will be written or replaced.

    Raises:
        UsageError: it cannot be.
    """
    if not path.parent.is_dir() or (path.exists() and not path.is_file()):
        raise UsageError(f"play: {option} must be a file in a folder that exists; got '{path}'.")


def ending_of(won: bool, timed_out: bool, over: bool = True) -> Ending:
    """How an episode ended."""
    if not over:
        return "unfinished"
    return "won" if won else "time is up" if timed_out else "lost"


def open_screen(
    render: str | None,
    out: str | Path,
    episodes: int,
    console: Any = None,
    on_frame: Callable[[int, int], None] | None = None,
) -> Screen | None:
    """The screen that `render` names; None for none.

    Args:
        render: one of `RENDERINGS`, or None.
        out: file of a film.
        episodes: how many will be shown.
        console: `rich.console.Console` of the terminal; standard output when None.
        on_frame: told while a film is drawn.

    Raises:
        UsageError: unknown rendering, or the film's folder does not exist.
        MissingExtra: a film without Pillow.
    """
    if render is None:
        return None
    if render not in RENDERINGS:
        raise UsageError(
            f"play: render must be one of {', '.join(RENDERINGS)}; got '{render}'."
            f"{nearest(render, list(RENDERINGS))}"
        )
    if render == "gif":
        require_writable("out", Path(out))
        return GifBattle(out, episodes, on_frame)
    from rich.console import Console

    return AsciiBattle(Console() if console is None else console, episodes)
