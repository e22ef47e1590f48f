"""Runs the command line and turns what went wrong into one line and an exit code.

0 done · 1 internal error, disk full, divergence · 2 usage · 3 missing input · 4 invalid config ·
5 artifact refused · 6 parity failed · 7 inconclusive · 8 environment unavailable · 130 interrupted.

Source: parity_and_safety.md 5.
"""

import errno
import importlib
import json
import os
import sys
import traceback
from collections.abc import Sequence
from typing import Any

import click

from mast_edge.errors import EnvironmentUnavailable, MastEdgeError, MissingExtra

INTERRUPTED = 130
EXTRAS = {
    "torch": "train",
    "tensorboardX": "train",
    "wandb": "wandb",
    "onnx": "export",
    "onnxruntime": "onnx",
    "PIL": "view",
}
"""Optional package -> the extra that installs it."""


def stage(module: str, attribute: str) -> Any:
    """A stage's public function, imported only now.

    Args:
        module: such as `mast_edge.train.loop`.
        attribute: such as `train`.

    Raises:
        MissingExtra: the stage needs a package that is not installed.
        EnvironmentUnavailable: the native core was not built.
    """
    try:
        return getattr(importlib.import_module(module), attribute)
    except ImportError as error:
        package = (error.name or "").split(".")[0]
        if package in EXTRAS:
            raise MissingExtra(attribute, package, EXTRAS[package]) from error
        if error.name in ("mast_edge.native", "mast_edge.native._core"):
            raise EnvironmentUnavailable(
                f"{attribute}: native core must be built; got none. Run: pip install -e ."
            ) from error
        raise


def run(command: click.Command, arguments: Sequence[str]) -> int:
    """Runs a command and prints what stopped it.

    Args:
        command: the whole command line.
        arguments: without the program's name. `--json` and `--debug` among them decide how failures look.

    Returns:
        The exit code. Faults of ours are not caught: their traceback ends the process with code 1.
    """
    options = arguments[: arguments.index("--")] if "--" in arguments else arguments
    as_json, debug, stdout = "--json" in options, "--debug" in options, sys.stdout
    try:
        code = command.main(args=list(arguments), prog_name="mast-edge", standalone_mode=False)
        sys.stdout.flush()
    except BrokenPipeError:
        return _quiet_pipe()
    except SystemExit:
        # How click ends a command in the middle of whose output the reader left: with other streams.
        if sys.stdout is not stdout:
            return _quiet_pipe()
        raise
    except click.exceptions.NoArgsIsHelpError as error:
        click.echo(error.format_message(), err=True)
        return error.exit_code
    except click.ClickException as error:
        return _failed(_usage_line(error), error.exit_code, as_json, debug)
    except (KeyboardInterrupt, click.Abort):
        return _failed("interrupted", INTERRUPTED, as_json, debug)
    except MastEdgeError as error:
        return _failed(str(error), error.exit_code, as_json, debug)
    except OSError as error:
        return _failed(_system_line(error), 1, as_json, debug)
    except BaseException as error:
        if as_json:
            _print_json(f"internal error: {type(error).__name__}: {error}", 1)
        raise
    return code if isinstance(code, int) else 0


def _failed(message: str, code: int, as_json: bool, debug: bool) -> int:
    line = " ".join(message.split())
    if debug:
        traceback.print_exc()
    try:
        if as_json:
            _print_json(line, code)
        print(f"mast-edge: {line}", file=sys.stderr, flush=True)
    except BrokenPipeError:
        _quiet_pipe()
    return code


def _print_json(message: str, code: int) -> None:
    print(json.dumps({"schema": "mast-edge/error/1", "error": message, "exit_code": code}), flush=True)


def _usage_line(error: click.ClickException) -> str:
    where = error.ctx.command_path if isinstance(error, click.UsageError) and error.ctx else "mast-edge"
    return f"{error.format_message()} See: {where} --help"


def _system_line(error: OSError) -> str:
    what = error.strerror or str(error) or type(error).__name__
    where = f" ({error.filename})" if error.filename else ""
    if error.errno == errno.ENOSPC:
        return f"disk: space must be left{where}; got {what}. Free some and run the same command again."
    return f"file system: the operation must be possible{where}; got {what}."


def _quiet_pipe() -> int:
    """The reader has left; nothing more can be said, and that is no failure."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return 0
