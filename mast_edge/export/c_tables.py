"""The tables of exported C: columns as steps from the last one, numbers in which no digit is lost.

A layer becomes one or more parts, each run by one kernel: rows (CSR), blocks of a height, or dense. Groups
that are shorter, at the end of a gate, are a part of their own, so that nothing is padded. Weights that are
exactly zero are left out: they add nothing. The columns of fc1 that belong to one-hot inputs are stored
column by column, since one of them is chosen rather than multiplied.

Source: runtime.md section 5, "Table coding".
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mast_edge.errors import ArtifactRefused
from mast_edge.layers import DenseLayer, Layer

LARGEST_STEP = 255
_LARGEST_COUNT = 0xFFFF
_WIDTH = 100
_BYTES = {
    **{"unsigned char": 1, "signed char": 1, "unsigned short": 2, "int16_t": 2},
    **{"int32_t": 4, "float": 4, "unsigned": 4},
}
Group = tuple[NDArray[Any], NDArray[Any]]
"""Columns of a group, rising, and its weights (columns, height)."""


@dataclass(frozen=True, slots=True, eq=False)
class Coded:
    """Groups of entries as the kernels read them.

    Attributes:
        height: rows of a group, 1 for CSR.
        weights: (entries, height), bridging zeros included.
        steps: (entries,) u8: column minus the column before, the first minus 0.
        counts: (groups,) entries of each group.
    """

    height: int
    weights: NDArray[Any]
    steps: NDArray[np.uint8]
    counts: NDArray[np.int64]

    @property
    def wide(self) -> bool:
        """Whether a count needs two bytes."""
        return int(self.counts.max(initial=0)) > 0xFF

    @property
    def starts(self) -> NDArray[np.int64]:
        """(groups + 1,) where each group begins."""
        return np.concatenate([[0], np.cumsum(self.counts)])


@dataclass(frozen=True, slots=True, eq=False)
class Part:
    """Consecutive rows of a layer for one kernel.

    Attributes:
        name: of its tables: `fc1`, or `gru_ih_2` for the third part of a layer.
        first, rows: which rows of the layer.
        weights: entries, or all weights (rows, cols).
    """

    name: str
    first: int
    rows: int
    weights: Coded | NDArray[Any]

    @property
    def kernel(self) -> str:
        """Name of the kernel that reads it, without prefix."""
        if not isinstance(self.weights, Coded):
            return "dense"
        name = "rows" if self.weights.height == 1 else f"blocks{self.weights.height}"
        return f"{name}_wide" if self.weights.wide else name


@dataclass(frozen=True, slots=True, eq=False)
class Table:
    """A constant table: what it belongs to, its C type, name without prefix, numbers, and a line about it."""

    part: str
    c_type: str
    name: str
    numbers: Sequence[Any] | NDArray[Any]
    about: str

    @property
    def nbytes(self) -> int:
        """What it takes in flash; C has no empty tables, so an empty one holds a zero."""
        return _BYTES[self.c_type] * max(1, len(self.numbers))

    def text(self) -> str:
        """Its definition."""
        words = [c_number(number) for number in self.numbers] or ["0"]
        lines, line = [], "   "
        for word in words:
            if len(line) + len(word) + 2 > _WIDTH:
                lines.append(line)
                line = "   "
            line += f" {word},"
        body = "\n".join([*lines, line])
        head = f"static const {self.c_type} agent_{self.name}[{len(words)}]"
        return f"/* {self.about} */\n{head} = {{\n{body}\n}};\n"


def coded(groups: Iterable[Group], height: int, dtype: np.dtype[Any]) -> Coded:
    """Columns as steps; a gap above 255 is bridged by entries of weight zero.

    Raises:
        ArtifactRefused: a group has more entries than two bytes can count.
    """
    weights: list[NDArray[Any]] = []
    steps: list[int] = []
    counts: list[int] = []
    zero = np.zeros(height, dtype)
    for columns, values in groups:
        before, position = len(steps), 0
        for column, value in zip(columns.tolist(), values, strict=True):
            gap = column - position
            bridges = max(0, gap - 1) // LARGEST_STEP
            steps += [LARGEST_STEP] * bridges + [gap - bridges * LARGEST_STEP]
            weights += [zero] * bridges + [value]
            position = column
        counts.append(len(steps) - before)
    if max(counts, default=0) > _LARGEST_COUNT:
        raise ArtifactRefused(
            f"export c: a row must have at most {_LARGEST_COUNT} weights; got {max(counts)}. Export as csr."
        )
    stacked = np.stack(weights) if weights else np.zeros((0, height), dtype)
    return Coded(height, stacked, np.array(steps, np.uint8), np.array(counts, np.int64))


def stored_weights(layer: Layer) -> NDArray[Any]:
    """The weights as they are stored, (rows, cols): float32, or int8 without their scale."""
    if isinstance(layer, DenseLayer):
        return layer.weight
    plain = replace(layer, values=layer.values.astype(np.float32), scale=None)
    return plain.dense().astype(layer.values.dtype)


def layer_parts(name: str, layer: Layer, cols: int) -> list[Part]:
    """The parts of a layer's first `cols` columns."""
    weights = stored_weights(layer)[:, :cols]
    if isinstance(layer, DenseLayer):
        return [Part(name, 0, layer.rows, weights)]
    spans = list(_spans(layer.groups.starts, layer.groups.heights))
    parts = []
    for number, (height, first, rows) in enumerate(spans):
        groups = [_group(weights[row : row + height]) for row in range(first, first + rows, height)]
        label = name if len(spans) == 1 else f"{name}_{number}"
        parts.append(Part(label, first, rows, coded(groups, height, weights.dtype)))
    return parts


def hot_columns(fc1: Layer, obs_dim: int) -> Coded:
    """The one-hot columns of fc1, one group per column; steps go down the rows."""
    weights = stored_weights(fc1)[:, obs_dim:].T
    return coded([_group(column[None]) for column in weights], 1, weights.dtype)


def part_tables(part: Part, layer: str) -> list[Table]:
    """The weights of a part and where they stand."""
    weights = part.weights
    if not isinstance(weights, Coded):
        return [_weights(layer, part.name, weights, "row by row")]
    count_type = "unsigned short" if weights.wide else "unsigned char"
    about = "one row after the other" if weights.height == 1 else f"blocks of {weights.height} rows"
    return [
        _weights(layer, part.name, weights.weights, f"{part.name}: weights, {about}"),
        Table(layer, "unsigned char", f"{part.name}_step", weights.steps, "columns, as steps"),
        Table(layer, count_type, f"{part.name}_count", weights.counts, "entries of each row (of blocks)"),
    ]


def hot_tables(hot: Coded) -> list[Table]:
    """The one-hot columns of fc1."""
    start_type = "unsigned short" if hot.starts[-1] <= _LARGEST_COUNT else "unsigned"
    return [
        _weights("one-hot", "hot", hot.weights, "fc1: weights of the one-hot inputs, column by column"),
        Table("one-hot", "unsigned char", "hot_step", hot.steps, "rows, as steps"),
        Table("one-hot", start_type, "hot_start", hot.starts, "where each column begins"),
    ]


def _weights(layer: str, name: str, weights: NDArray[Any], about: str) -> Table:
    c_type = "signed char" if weights.dtype == np.int8 else "float"
    return Table(layer, c_type, f"{name}_weight", weights.ravel(), about)


def _spans(starts: Sequence[int], heights: Sequence[int]) -> Iterator[tuple[int, int, int]]:
    """(height, first row, rows) of runs of groups of equal height."""
    for height, run in groupby(zip(starts, heights, strict=True), lambda group: group[1]):
        rows = [start for start, _ in run]
        yield height, rows[0], height * len(rows)


def _group(rows: NDArray[Any]) -> Group:
    columns = np.flatnonzero((rows != 0).any(axis=0))
    return columns, rows[:, columns].T


def c_number(number: Any) -> str:
    """A literal that gives back the same number: decimal integers, hexadecimal float32."""
    if isinstance(number, (int, np.integer)):
        return str(int(number)) if number > -(2**31) else "(-2147483647 - 1)"
    mantissa, exponent = float(np.float32(number)).hex().split("p")
    if "." in mantissa:
        mantissa = mantissa.rstrip("0").rstrip(".")
    return f"{mantissa}p{exponent}f"
