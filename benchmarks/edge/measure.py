"""Runs linked programs: what the agent did, and how many instructions that took.

Source: runtime.md section 5, traps 1 to 7.
"""

import struct
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.edge.targets import Target, run
from mast_edge.errors import MastEdgeError

_CHUNK = 1 << 22


@dataclass(frozen=True, slots=True, eq=False)
class Outcome:
    """What `replay.c` said.

    Attributes:
        actions: (M, N) int.
        bits: digest over all hidden states and Q values; equal bits are equal numbers.
        selftest: golden steps with the right action.
        worst: largest |dQ| of the golden steps.
        stack: bytes that one `agent_act` and the loop around it took, found by painting; None for a process.
    """

    actions: NDArray[np.int64]
    bits: int
    selftest: int
    worst: float
    stack: int | None


def parse_outcome(who: str, text: str, shape: tuple[int, int]) -> Outcome:
    """Reads the lines of `replay.c` among whatever else was printed.

    Raises:
        MastEdgeError: a line is missing, or the actions are not `shape` many.
    """
    lines = dict(line.split(" ", 1) for line in text.splitlines() if " " in line)
    try:
        if "done" not in text.splitlines():
            raise ValueError("no line 'done'")
        actions = np.array(lines["actions"].split(), np.int64).reshape(shape)
        right, bits_of_worst = map(int, lines["selftest"].split())
        (worst,) = struct.unpack("<f", struct.pack("<I", bits_of_worst))
        stack = int(lines["stack"].removeprefix("-"))
        return Outcome(
            actions, int(lines["bits"]), right, worst, None if lines["stack"].startswith("-") else stack
        )
    except (KeyError, ValueError, struct.error) as problem:
        raise MastEdgeError(
            f"{who}: output must hold actions, bits, selftest, stack and done; got {problem!r} "
            f"in:\n{text[-500:]}"
        ) from problem


def replay(target: Target, image: Path, shape: tuple[int, int]) -> Outcome:
    """Runs a linked `replay.c`."""
    return parse_outcome(target.name, run(target.run_command(image)), shape)


def instructions_per_act(target: Target, once: Path, twice: Path, acts: int) -> float:
    """Instructions of one act: programs that do `acts` acts once and twice, their difference over `acts`.

    The loop of `count.c` stays inside. Instructions are neither time nor energy.

    Raises:
        MastEdgeError: two traces of the same program differ in length.
    """
    return (_traced(target, twice) - _traced(target, once)) / acts


def _traced(target: Target, image: Path) -> int:
    lengths = []
    for _ in range(2):
        log = image.with_suffix(".trace")
        run(target.trace_command(image, log))
        lengths.append(executed(log))
        log.unlink()
    return agreed(f"{target.name}: {image.name}", lengths)


def agreed(who: str, lengths: list[int]) -> int:
    """The length of every repeat of a trace.

    Raises:
        MastEdgeError: they differ, or nothing was traced.
    """
    if len(set(lengths)) != 1 or lengths[0] == 0:
        raise MastEdgeError(
            f"{who}: repeated traces must have equal lengths above 0; got {lengths}. Is the disk full?"
        )
    return lengths[0]


def executed(log: Path) -> int:
    """Instructions in a trace: its lines, less those of blocks that were announced and not begun."""
    count, rest = 0, b"\n"
    with log.open("rb") as file:
        while chunk := file.read(_CHUNK):
            text = rest + chunk
            end = text.rfind(b"\n")
            whole, rest = text[: end + 1], text[end:]
            # Lines begin after a line feed; the last one is kept for the next chunk.
            count += whole.count(b"\nTrace ") - whole.count(b"\nStopped execution ")
    return count
