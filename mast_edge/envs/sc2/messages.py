"""The API's message types, loaded so that the installed protobuf accepts them."""

import importlib
import os
import sys
from dataclasses import dataclass
from typing import Any

from mast_edge.errors import EnvironmentUnavailable, MissingExtra

SWITCH = "PROTOCOL_BUFFERS_PYTHON_IMPLEMENTATION"


@dataclass(frozen=True, slots=True)
class Messages:
    """The generated modules of s2clientprotocol that are used here.

    Attributes:
        sc2api, raw, error: the modules.
        decode_errors: what reading bytes that are no message may raise. The pure Python decoder lets several
            kinds through.
    """

    sc2api: Any
    raw: Any
    error: Any
    decode_errors: tuple[type[Exception], ...]


def load_messages() -> Messages:
    """Imports s2clientprotocol.

    Its generated code is older than protobuf 4, which takes it only in its pure Python mode. That mode is
    chosen by an environment variable before the first import of protobuf; this sets it unless it is set.

    Raises:
        MissingExtra: s2clientprotocol or protobuf is not installed.
        EnvironmentUnavailable: protobuf has been loaded in another mode in this process.

    Source: smac.md 11.
    """
    if "google.protobuf" not in sys.modules:
        os.environ.setdefault(SWITCH, "python")
    try:
        sc2api, raw, error_codes = (
            importlib.import_module(f"s2clientprotocol.{name}_pb2") for name in ("sc2api", "raw", "error")
        )
        decode_error = importlib.import_module("google.protobuf.message").DecodeError
    except ImportError as error:
        package = "protobuf" if (error.name or "").startswith("google") else "s2clientprotocol"
        raise MissingExtra("serve-sc2", package, "sc2") from error
    except TypeError as error:    # protobuf: "Descriptors cannot be created directly"
        raise EnvironmentUnavailable(
            f"serve-sc2: protobuf must run in its Python mode; got mode '{_mode()}', loaded before. "
            f"Set {SWITCH}=python before anything imports protobuf, or serve from a process of its own."
        ) from error
    errors = (decode_error, ValueError, TypeError, LookupError, ArithmeticError, RecursionError)
    return Messages(sc2api, raw, error_codes, errors)


def _mode() -> str:
    mode = importlib.import_module("google.protobuf.internal.api_implementation").Type()
    return str(mode)
