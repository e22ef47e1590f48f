"""The tables of one exported matrix: dense, CSR, or blocks, in float32 or in int8 with a scale per row.

`make_layer` chooses the smallest; `affine` is what the tables mean. `mast_edge.artifact` puts them into a
file, the runtimes and the C export run them.

Source: runtime.md section 3.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mast_edge.dense_agent import Floats
from mast_edge.spec import LAYERS
from mast_edge.topology import GATES, Blocks, blocks, group_heights, layer_blocks

PRECISIONS = ("f32", "int8")
LARGEST_INT8 = 127
BLOCK_HEIGHTS = (8, 4)
"""Heights of stored blocks, the tallest first (`topology.PATTERNS` without `element`)."""
_VALUES_AT_ONCE = 2**17
"""A few MB of float64 and what indexing needs beside it."""

Unsigned = NDArray[np.uint8] | NDArray[np.uint16] | NDArray[np.uint32]
Values = NDArray[np.float32] | NDArray[np.int8]


@dataclass(frozen=True, slots=True, eq=False)
class SparseLayer:
    """W x + b with the entries of W that are stored listed group by group.

    A group is `height` consecutive rows inside one gate (`topology.Blocks`), an entry one column of it.
    Height 1 is CSR: groups are rows, entries are weights.

    Attributes:
        cols: width of W.
        height: rows of a group; the last group of a gate may be shorter, its entries are padded with zeros.
        gates: matrices stacked along the rows of W; no group spans two of them.
        values: (entries, height), for height 1 (entries,); float32, or int8 to be multiplied by `scale`.
        indices: (entries,) column of each entry, strictly increasing inside a group.
        indptr: (groups + 1,) where each group begins.
        bias: (rows,) float32.
        scale: (rows,) float32 beside int8 values, else None.
    """

    cols: int
    height: int
    gates: int
    values: Values
    indices: Unsigned
    indptr: Unsigned
    bias: Floats
    scale: Floats | None = None

    @property
    def kind(self) -> str:
        """`csr` or `block`."""
        return "csr" if self.height == 1 else "block"

    @property
    def pattern(self) -> str:
        """As `topology.PATTERNS` calls it."""
        return "element" if self.height == 1 else f"{self.height}x1"

    @property
    def rows(self) -> int:
        """Height of W."""
        return len(self.bias)

    @property
    def groups(self) -> Blocks:
        """First row and rows of every group."""
        return blocks(self.rows, self.height, self.gates)

    @property
    def nnz(self) -> int:
        """Stored weights, padding left out."""
        return int(self._entries(0, len(self.indptr) - 1) @ self._heights())

    def sections(self) -> dict[str, NDArray[Any]]:
        """Tensor name suffix -> table."""
        if self.height == 1:
            tables = {"values": self.values, "indices": self.indices, "indptr": self.indptr}
        else:
            tables = {"blocks": self.values, "bcols": self.indices, "bptr": self.indptr}
        return {**tables, "bias": self.bias, **({} if self.scale is None else {"scale": self.scale})}

    def affine(self, x: NDArray[Any]) -> NDArray[Any]:
        """W x + b for rows x (B, cols), in the float type of x; needs room for a part of the entries only."""
        sums = np.zeros((len(x), len(self.indptr) - 1, self.height), x.dtype)
        for begin, end in self._parts():
            ends = self.indptr[begin : end + 1].astype(np.int64)
            filled = np.flatnonzero(ends[1:] - ends[:-1])
            if len(filled):
                products = x[:, self.indices[ends[0] : ends[-1]], None] * self._weights(begin, end)
                sums[:, begin + filled] = np.add.reduceat(products, ends[filled] - ends[0], axis=1)
        lanes = np.arange(self.height) < self._heights()[:, None]
        result: NDArray[Any] = sums.reshape(len(x), -1)[:, lanes.ravel()] + self.bias
        return result

    def padding(self) -> Values:
        """Stored values of rows that W does not have; all must be zero."""
        heights = self._heights()
        short = np.flatnonzero(heights < self.height).tolist()
        pads = [self._stored(group, group + 1)[:, heights[group] :].ravel() for group in short]
        padding: Values = np.concatenate([self.values[:0].ravel(), *pads])
        return padding

    def rows_csr(self) -> tuple[Floats, NDArray[np.uint32], NDArray[np.uint32]]:
        """values (nnz,), indices (nnz,), indptr (rows + 1,): the same weights row by row, as float32."""
        nnz = self.nnz
        values, indices = np.empty(nnz, np.float32), np.empty(nnz, np.uint32)
        counts = np.repeat(self._entries(0, len(self.indptr) - 1), self._heights())
        at = 0
        for part, _, columns in self.by_row():
            values[at : at + len(part)], indices[at : at + len(part)] = part, columns
            at += len(part)
        return values, indices, np.concatenate([[0], np.cumsum(counts)]).astype(np.uint32)

    def dense(self) -> Floats:
        """W with its zeros, (rows, cols) float32."""
        weight = np.zeros((self.rows, self.cols), np.float32)
        for values, rows, columns in self.by_row():
            weight[rows, columns] = values
        return weight

    def by_row(self) -> Iterator[tuple[Floats, NDArray[np.int64], NDArray[Any]]]:
        """values, rows and columns of all weights, sorted by row, a part at a time."""
        heights = self._heights()
        for begin, end in self._parts():
            group = self._group_of_entry(begin, end)
            lanes = np.arange(self.height) < heights[begin + group, None]
            rows = (self._starts(begin, end)[group, None] + np.arange(self.height))[lanes]
            columns = np.repeat(self.indices[self.indptr[begin] : self.indptr[end]], heights[begin + group])
            order = np.argsort(rows, kind="stable") if self.height > 1 else slice(None)
            yield self._weights(begin, end)[lanes][order], rows[order], columns[order]

    def _parts(self) -> Iterator[tuple[int, int]]:
        """Groups begin..end that together hold a number of values worth computing with at once."""
        groups, at_once = len(self.indptr) - 1, max(1, _VALUES_AT_ONCE // self.height)
        begin = 0
        while begin < groups:
            room = int(self.indptr[begin]) + at_once
            end = int(np.searchsorted(self.indptr, room, side="right")) - 1
            end = min(max(end, begin + 1), groups)
            yield begin, end
            begin = end

    def _heights(self) -> NDArray[np.int64]:
        """(groups,): as `groups.heights`, which would take many objects in a large layer."""
        return group_heights(self.rows, self.height, self.gates)

    def _starts(self, begin: int, end: int) -> NDArray[np.int64]:
        """First rows of groups begin..end."""
        heights = self._heights()
        starts: NDArray[np.int64] = (np.cumsum(heights) - heights)[begin:end]
        return starts

    def _group_of_entry(self, begin: int, end: int) -> NDArray[np.int64]:
        """The group of each entry of groups begin..end, counted from begin."""
        return np.repeat(np.arange(end - begin), self._entries(begin, end))

    def _entries(self, begin: int, end: int) -> NDArray[np.int64]:
        """How many entries each of groups begin..end has."""
        ends = self.indptr[begin : end + 1].astype(np.int64)
        return ends[1:] - ends[:-1]

    def _stored(self, begin: int, end: int) -> Values:
        """Entries of groups begin..end as they are stored, (entries, height)."""
        entries: Values = self.values[int(self.indptr[begin]) : int(self.indptr[end])]
        return entries.reshape(-1, self.height)

    def _weights(self, begin: int, end: int) -> Floats:
        """Entries of groups begin..end as float32, (entries, height)."""
        stored = self._stored(begin, end).astype(np.float32, copy=False)
        if self.scale is None:
            return stored
        rows = self._starts(begin, end)[:, None] + np.arange(self.height)
        # Padding is zero, whatever it is multiplied by.
        scale = self.scale[np.minimum(rows, self.rows - 1)]
        weights: Floats = stored * scale[self._group_of_entry(begin, end)]
        return weights


@dataclass(frozen=True, slots=True, eq=False)
class DenseLayer:
    """W x + b with every weight stored.

    Attributes:
        weight: (rows, cols) float32, or int8 to be multiplied by `scale`.
        bias: (rows,) float32.
        scale: (rows,) float32 beside int8 weights, else None.
    """

    weight: Values
    bias: Floats
    scale: Floats | None = None
    kind = "dense"
    pattern = "dense"

    @property
    def rows(self) -> int:
        """Height of W."""
        return int(self.weight.shape[0])

    @property
    def cols(self) -> int:
        """Width of W."""
        return int(self.weight.shape[1])

    @property
    def nnz(self) -> int:
        """Weights that are not zero."""
        return int(np.count_nonzero(self.weight))

    def sections(self) -> dict[str, NDArray[Any]]:
        """Tensor name suffix -> table."""
        scale = {} if self.scale is None else {"scale": self.scale}
        return {"dense": self.weight, "bias": self.bias, **scale}

    def affine(self, x: NDArray[Any]) -> NDArray[Any]:
        """W x + b for rows x (B, cols), in the float type of x; needs room for a part of the rows only."""
        result = np.empty((len(x), self.rows), x.dtype)
        at_once = max(1, _VALUES_AT_ONCE // self.cols)
        for begin in range(0, self.rows, at_once):
            part = slice(begin, begin + at_once)
            result[:, part] = x @ self._weights(part).T.astype(x.dtype, copy=False)
        result += self.bias
        return result

    def rows_csr(self) -> tuple[Floats, NDArray[np.uint32], NDArray[np.uint32]]:
        """As `SparseLayer.rows_csr`, every weight listed."""
        indices = np.tile(np.arange(self.cols, dtype=np.uint32), self.rows)
        return self.dense().ravel(), indices, np.arange(self.rows + 1, dtype=np.uint32) * np.uint32(self.cols)

    def by_row(self) -> Iterator[tuple[Floats, NDArray[np.int64], NDArray[Any]]]:
        """As `SparseLayer.by_row`, every weight listed."""
        at_once = max(1, _VALUES_AT_ONCE // self.cols)
        for begin in range(0, self.rows, at_once):
            weights = self._weights(slice(begin, begin + at_once))
            rows, columns = np.arange(begin, begin + len(weights)), np.arange(self.cols)
            yield weights.ravel(), np.repeat(rows, self.cols), np.tile(columns, len(rows))

    def dense(self) -> Floats:
        """W, (rows, cols) float32."""
        return self._weights(slice(None))

    def _weights(self, part: slice) -> Floats:
        """Some rows of W as float32."""
        weight: Floats = self.weight[part].astype(np.float32, copy=False)
        if self.scale is not None:
            weight *= self.scale[part, None]
        return weight


Layer = SparseLayer | DenseLayer


def index_dtype(largest: int) -> np.dtype[Any]:
    """Narrowest unsigned type that holds `largest`: u8, u16 or u32."""
    return np.dtype(np.uint8 if largest <= 0xFF else np.uint16 if largest <= 0xFFFF else np.uint32)


def pointer_dtype(entries: int) -> np.dtype[Any]:
    """Type of group pointers: u16 or u32."""
    return np.dtype(np.uint16 if entries <= 0xFFFF else np.uint32)


def sparse_table_bytes(groups: int, height: int, cols: int, entries: int, precision: str = "f32") -> int:
    """Bytes of values, indices and pointers, without bias and scale."""
    value = 4 if precision == "f32" else 1
    per_entry = height * value + index_dtype(cols - 1).itemsize
    return entries * per_entry + (groups + 1) * pointer_dtype(entries).itemsize


def block_height(layer: str, mask: NDArray[np.bool_]) -> int:
    """Rows of the tallest blocks that `mask` (rows, cols) is made of; 1 when it is not made of blocks."""
    for height in BLOCK_HEIGHTS:
        grouped = layer_blocks(layer, len(mask), f"{height}x1")
        if mask.any() and max(grouped.heights) > 1 and (grouped.spread(grouped.whole(mask)) == mask).all():
            return height
    return 1


def make_layer(
    name: str, weight: Floats, bias: Floats, mask: NDArray[np.bool_] | None, precision: str = "f32"
) -> Layer:
    """The tables of a matrix: blocks where its mask is made of blocks, else CSR; dense where that is smaller.

    Args:
        name: of the layer; decides where gates begin.
        weight: (rows, cols), zero outside the mask.
        bias: (rows,).
        mask: True = active; active weights that happen to be zero are stored too. None keeps all weights.
        precision: a name in `PRECISIONS`.
    """
    rows, cols = weight.shape
    stored: Values
    stored, scale = (weight, None) if precision == "f32" else quantised(weight)
    if mask is not None:
        height, gates = block_height(name, mask), GATES.get(name, 1)
        groups = blocks(rows, height, gates)
        kept = groups.whole(mask)
        entries = int(kept.sum())
        if sparse_table_bytes(len(kept), height, cols, entries, precision) < rows * cols * stored.itemsize:
            at_group, at_col = np.nonzero(kept)
            lane = np.arange(height) < np.array(groups.heights)[at_group, None]
            at_row = np.where(lane, np.array(groups.starts)[at_group, None] + np.arange(height), 0)
            values = np.where(lane, stored[at_row, at_col[:, None]], stored.dtype.type(0))
            indptr = np.concatenate([[0], np.cumsum(kept.sum(axis=1))])
            return SparseLayer(
                cols,
                height,
                gates,
                np.ascontiguousarray(values[:, 0] if height == 1 else values),
                at_col.astype(index_dtype(cols - 1)),
                indptr.astype(pointer_dtype(entries)),
                bias,
                scale,
            )
    return DenseLayer(stored if stored.flags.c_contiguous else stored.copy(), bias, scale)


def quantised(weight: Floats) -> tuple[NDArray[np.int8], Floats]:
    """int8 weights (rows, cols) and a scale per row: the largest weight of a row becomes 127 (runtime.md 3).

    A weight is off by at most half its row's scale. A row of zeros has scale 1.
    """
    largest = np.abs(weight).max(axis=1, initial=0.0)
    scale = np.where(largest > 0, largest / np.float32(LARGEST_INT8), np.float32(1)).astype(np.float32)
    # A row of denormals may have a scale of zero, which no reader accepts; its weights are zero in int8.
    scale = np.maximum(scale, np.finfo(np.float32).tiny)
    steps = np.rint(weight / scale[:, None])
    return np.clip(steps, -LARGEST_INT8, LARGEST_INT8).astype(np.int8), scale


def layers_of(
    weights: Mapping[str, Floats], masks: Mapping[str, NDArray[np.bool_]], precision: str = "f32"
) -> dict[str, Layer]:
    """All layers of an agent by name, in the order of `spec.LAYERS`.

    Args:
        weights: `<layer>.weight` and `<layer>.bias`.
        masks: layer -> (rows, cols) bool; dense layers left out.
        precision: a name in `PRECISIONS`.
    """
    return {
        name: make_layer(name, weights[f"{name}.weight"], weights[f"{name}.bias"], masks.get(name), precision)
        for name in LAYERS
    }
