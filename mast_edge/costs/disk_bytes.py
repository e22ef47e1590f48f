"""Bytes of one exported agent, part by part as they stand in its file, and what it would take otherwise.

Source: accounting.md 7.2; runtime.md section 3 ("Sizes in bytes").
"""

import io
import json
import math
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from mast_edge.accounting import size
from mast_edge.artifact import build_artifact
from mast_edge.costs.agent import CostedAgent, Weights
from mast_edge.layers import Layer, SparseLayer, sparse_table_bytes
from mast_edge.topology import layer_blocks

ZIP = "zip, deflate level 6"
PARTS = {
    **dict.fromkeys(("values", "blocks", "dense"), "values"),
    **dict.fromkeys(("indices", "bcols"), "indices"),
    **dict.fromkeys(("indptr", "bptr"), "pointers"),
    **{"bias": "biases", "scale": "scales", "q": "golden"},
}
"""Last word of a tensor's name -> the part that its bytes count as."""


@dataclass(frozen=True, slots=True)
class AgentBytes:
    """What one agent takes.

    Attributes:
        parts: values (zeros inside blocks included), indices, pointers, biases, scales (int8), golden (the
            self-test's answers), padding (alignment), header (names, shapes, digests, metadata); they add up
            to the file.
        dense_file: the same format with every weight stored, float32.
        dense_arrays, dense_weights: all weights as float32, with biases and without.
        bitmask: values, biases, scales, and one bit per weight in place of indices and pointers.
        zipped_dense, zipped_file: the dense arrays and this file, compressed by `ZIP`. A dense file of zeros
            compresses too: it is the harder peer.
        rule_r_ratio: Rule R's size(agent, sparsity) / size(agent, 0), which counts no index; None where the
            sparsity is not known.
        break_even: layer -> smallest sparsity at which `tables` (of the pattern the layer has) and `bitmask`
            are smaller than dense weights of the same precision; None: never.
    """

    parts: dict[str, int]
    dense_file: int
    dense_arrays: int
    dense_weights: int
    bitmask: int
    zipped_dense: int
    zipped_file: int
    rule_r_ratio: float | None
    break_even: dict[str, dict[str, float | None]]

    @property
    def file(self) -> int:
        """Bytes of the file."""
        return sum(self.parts.values())

    @property
    def weights(self) -> int:
        """What is stored for the weights: values, scales, indices, pointers."""
        return sum(self.parts[part] for part in ("values", "scales", "indices", "pointers"))

    @property
    def payload(self) -> int:
        """All tables: `weights` and the biases."""
        return self.weights + self.parts["biases"]

    def ratios(self) -> dict[str, float | None]:
        """Over float32: the file, the tables, those without biases, the bitmask; then without any index."""
        without = self.parts["values"] + self.parts["scales"] + self.parts["biases"]
        return {
            "file": self.file / self.dense_file,
            "tables": self.payload / self.dense_arrays,
            "weights": self.weights / self.dense_weights,
            "bitmask": self.bitmask / self.dense_arrays,
            "without_indices": without / self.dense_arrays,
            "rule_r": self.rule_r_ratio,
        }

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        names = ("dense_file", "dense_arrays", "dense_weights", "bitmask", "zipped_dense", "zipped_file")
        return {
            "file": self.file,
            "parts": self.parts,
            "tables": self.payload,
            **{name: getattr(self, name) for name in names},
            "zip": ZIP,
            "ratios": self.ratios(),
            "break_even_sparsity": self.break_even,
        }


def agent_bytes(agent: CostedAgent) -> AgentBytes:
    """Builds the csr artifact and measures it."""
    spec, dense = agent.dense or (agent.spec, agent.weights)
    file = build_artifact(agent.contract, agent.weights, agent.masks, agent.provenance, agent.precision)
    dense_contract = replace(agent.contract, spec=spec)
    layers = agent.layers()
    return AgentBytes(
        parts=file_parts(file),
        dense_file=len(build_artifact(dense_contract, dense, {}, agent.provenance)),
        dense_arrays=sum(array.nbytes for array in dense.values()),
        dense_weights=sum(array.nbytes for name, array in dense.items() if name.endswith(".weight")),
        bitmask=sum(bitmask_bytes(layer, agent.precision) for layer in layers.values()),
        zipped_dense=zipped_bytes(npy_files(dense)),
        zipped_file=zipped_bytes({"agent.safetensors": file}),
        rule_r_ratio=_rule_r_ratio(agent),
        break_even={name: bytes_break_even(name, layer, agent.precision) for name, layer in layers.items()},
    )


def _rule_r_ratio(agent: CostedAgent) -> float | None:
    """Of agents that keep all weights, as narrow ones do, the sparsity they are matched to does not count."""
    full = agent.spec if agent.dense is None else agent.dense[0]
    sparsity = agent.sparsity if agent.masks else 0.0
    if sparsity is None:
        return None
    return size(agent.spec.layer_shapes(), sparsity) / size(full.layer_shapes(), 0.0)


def file_parts(file: bytes) -> dict[str, int]:
    """Where the bytes of a safetensors artifact go; they add up to its length."""
    length = int.from_bytes(file[:8], "little")
    header = file[8 : 8 + length]
    parts = dict.fromkeys([*PARTS.values()], 0)
    for name, tensor in json.loads(header).items():
        if name != "__metadata__":
            begin, end = tensor["data_offsets"]
            parts[PARTS[name.rsplit(".", 1)[1]]] += end - begin
    parts["padding"] = length - len(header.rstrip(b" "))
    parts["header"] = len(file) - sum(parts.values())
    return parts


def bitmask_bytes(layer: Layer, precision: str = "f32") -> int:
    """A layer as values, biases, scales and one bit per weight, rounded up to bytes per matrix."""
    scales = 0 if layer.scale is None else layer.scale.nbytes
    return layer.nnz * value_bytes(precision) + mask_bytes(layer) + layer.bias.nbytes + scales


def bytes_break_even(name: str, layer: Layer, precision: str = "f32") -> dict[str, float | None]:
    """Smallest sparsity at which the tables of a matrix are smaller than its dense weights.

    CSR: nnz (4 + c) + p (out + 1) < 4 in out, with c and p bytes of a column and of a pointer; blocks alike,
    by entries of h weights. Bitmask: 4 nnz + in out / 8 < 4 in out. int8: 1 in place of 4.

    Source: accounting.md 7.2.
    """
    size, value = layer.rows * layer.cols, value_bytes(precision)
    dense = size * value
    height = layer.height if isinstance(layer, SparseLayer) else 1
    groups = len(layer_blocks(name, layer.rows, "element" if height == 1 else f"{height}x1").starts)
    entries = _most(
        groups * layer.cols,
        lambda n: sparse_table_bytes(groups, height, layer.cols, n, precision) < dense,
    )
    kept = _most(size, lambda n: n * value + mask_bytes(layer) < dense)
    return {
        "tables": None if entries is None else 1 - entries / (groups * layer.cols),
        "bitmask": None if kept is None else 1 - kept / size,
    }


def mask_bytes(layer: Layer) -> int:
    """One bit per weight of a matrix, rounded up to bytes."""
    return math.ceil(layer.rows * layer.cols / 8)


def value_bytes(precision: str) -> int:
    """Of one stored weight."""
    return 4 if precision == "f32" else 1


def npy_files(arrays: Weights) -> dict[str, bytes]:
    """Each array as a .npy file."""
    files = {}
    for name, array in sorted(arrays.items()):
        member = io.BytesIO()
        np.save(member, array)
        files[name] = member.getvalue()
    return files


def zipped_bytes(files: Mapping[str, bytes]) -> int:
    """Size of a zip archive of the files, by `ZIP`."""
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED, compresslevel=6) as file:
        for name, data in files.items():
            file.writestr(zipfile.ZipInfo(name), data, zipfile.ZIP_DEFLATED, 6)
    return archive.tell()


def _most(limit: int, fits: Callable[[int], bool]) -> int | None:
    """The largest n in 0..limit that fits, where smaller ones fit too; None when not even 0 does."""
    if not fits(0):
        return None
    low, high = 0, limit
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if fits(middle) else (low, middle - 1)
    return low
