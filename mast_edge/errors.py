"""Errors that a user can cause, each with the exit code of the command line contract.

Message form: ``<who>: <what> must be <constraint>; got <value>. <what to do>``. The command line prints
exactly that line, without a traceback, and exits with `exit_code`.
"""

import reprlib


class MastEdgeError(Exception):
    """Base of every expected failure. `exit_code` 1: the fault is ours."""

    exit_code: int = 1


class UsageError(MastEdgeError):
    """A command was called in a way it does not offer."""

    exit_code = 2


class RunLocked(UsageError):
    """Another process is working in this run folder."""


class MissingInput(MastEdgeError):
    """A run, file or optional package is not there; the message holds the command that creates it."""

    exit_code = 3


class MissingExtra(MissingInput):
    """An optional package is not installed."""

    def __init__(self, who: str, package: str, extra: str) -> None:
        super().__init__(
            f"{who}: package {package} must be installed; got none. Run: pip install 'mast-edge[{extra}]'"
        )


class ConfigError(MastEdgeError):
    """A config is not valid. Nothing was written."""

    exit_code = 4


class IllegalAction(MastEdgeError, AssertionError):
    """An agent cannot take the action; the environment is as it was. SMAC raises AssertionError here."""


class EpisodeNotRunning(MastEdgeError, ValueError):
    """A call that needs a running episode came before `reset`, or after the episode's end."""


class ArtifactRefused(MastEdgeError):
    """An exported agent did not pass validation (runtime.md, section 3). Subclasses name the failed check."""

    exit_code = 5


class ArtifactTooLarge(ArtifactRefused):
    """The file is larger than any agent may be."""


class ArtifactMalformed(ArtifactRefused):
    """The header, names or dtypes are not those of the format."""


class ArtifactCorrupt(ArtifactRefused):
    """A digest does not match: the file was damaged or altered."""


class ArtifactVersion(ArtifactRefused):
    """The format version is not one this reader accepts."""


class ArtifactInconsistent(ArtifactRefused):
    """Sizes, pointers, indices or metadata disagree."""


class ArtifactValue(ArtifactRefused):
    """A value is not finite, a scale not positive, or padding not zero."""


class ArtifactContract(ArtifactRefused):
    """The artifact was made for another map or other sizes."""


class ArtifactSelfTest(ArtifactRefused):
    """The golden steps recorded in the file do not come out."""


class EnvironmentUnavailable(MastEdgeError):
    """A map, simulator feature, StarCraft II or a requested backend is not available here."""

    exit_code = 8


def shown(value: object, letters: int = 80) -> str:
    """A value from a file that is not trusted, for a message: short, on one line, no control characters.

    Only as much of it is written out as is shown: the text of a value may take many times its bytes.
    """
    return f"{_SHORT.repr(value):.{letters}}"


_SHORT = reprlib.Repr()
_SHORT.maxstring = _SHORT.maxother = 70
_SHORT.maxdict = _SHORT.maxlist = _SHORT.maxtuple = 5
