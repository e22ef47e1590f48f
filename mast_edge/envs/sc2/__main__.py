"""What the launcher layout starts in place of the game, with the game's own flags."""

import itertools
import signal
import sys
from collections.abc import Sequence

from mast_edge.envs.sc2.server import ServeOptions, serve
from mast_edge.errors import MastEdgeError, UsageError


def options_of(arguments: Sequence[str]) -> ServeOptions:
    """Reads the game's flags; those that mean nothing here (`-dataDir`, `-eglpath`, ...) are passed over.

    Args:
        arguments: `-listen HOST`, `-port N`, and `--profile NAME`, `--seed N` of the launcher script.

    Raises:
        UsageError: a number is none.
    """
    values = {"-listen": "127.0.0.1", "-port": "5000", "--profile": "liberty", "--seed": ""}
    for flag, value in itertools.pairwise(arguments):
        if flag in values:
            values[flag] = value
    numbers = {"-port": values["-port"], "--seed": values["--seed"] or "0"}
    for flag, text in numbers.items():
        if not text.isdecimal():
            raise UsageError(f"serve-sc2: {flag} must be a whole number; got '{text}'. Install it anew.")
    return ServeOptions(
        host=values["-listen"],
        port=int(values["-port"]),
        seed=int(values["--seed"]) if values["--seed"] else None,
        profile=values["--profile"],
        one_client=True,
    )


def main() -> int:
    """Serves one client. Ctrl-C is left to that client, who may want to save before it leaves."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        serve(options_of(sys.argv[1:]))
    except MastEdgeError as error:
        print(f"mast-edge: {error}", file=sys.stderr, flush=True)
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
