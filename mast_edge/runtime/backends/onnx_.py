"""The exported ONNX models in onnxruntime, one thread, buffers bound once per agent.

Dense or sparse form, with or without `avail`: the action is chosen outside the model, as in every runtime.
"""

import hashlib
from itertools import zip_longest
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from mast_edge.artifact_header import strict_json
from mast_edge.contract import AgentContract
from mast_edge.dense_agent import Floats
from mast_edge.errors import ArtifactInconsistent, ArtifactMalformed, MissingExtra, MissingInput
from mast_edge.onnx_graph import (
    METADATA_KEY,
    dense_nodes,
    dense_tensors,
    ports,
    sparse_nodes,
    sparse_tensors,
    weight_name,
)
from mast_edge.runtime.backends.base import Cell, Model, RowsCell, RowsModel
from mast_edge.runtime.backends.onnx_guard import GuardedModel, read_guarded
from mast_edge.runtime.backends.onnx_probe import try_elsewhere
from mast_edge.spec import LAYERS


class OnnxModel(RowsModel):
    """An agent as an inference session; sessions may be run by several threads."""

    def __init__(
        self,
        session: Any,
        ort: Any,
        contract: AgentContract,
        sha256: str,
        provenance: dict[str, Any],
        form: str,
        with_avail: bool,
    ) -> None:
        """Keeps an open session; `form` goes into `path_taken`, the rest as in `Model`."""
        super().__init__(contract, sha256, provenance, f"onnxruntime {ort.__version__}: {form}, 1 thread")
        self.session = session
        self.ort = ort
        self.with_avail = with_avail

    def step_rows(self, rows: Floats, hidden: Floats) -> tuple[Floats, Floats]:
        """See `RowsModel`."""
        inputs = {"obs": rows, "hidden": hidden}
        if self.with_avail:
            inputs["avail"] = np.ones((len(rows), self.contract.spec.n_actions), np.bool_)
        q, after = self.session.run(["q", "hidden_next"], inputs)
        return q, after

    def cell(self, agent_id: int) -> Cell:
        """See `Model`."""
        return BoundCell(self, agent_id)


class BoundCell(RowsCell):
    """An agent whose buffers onnxruntime reads and writes in place: the fastest way to call it."""

    def __init__(self, model: OnnxModel, agent_id: int) -> None:
        """Binds input and output buffers for a batch of one."""
        super().__init__(model, agent_id)
        spec, wrap = model.contract.spec, model.ort.OrtValue.ortvalue_from_numpy
        self._session = model.session
        self._fixed_row = np.zeros((1, spec.input_dim), np.float32)
        self._fixed_hidden = np.zeros((1, spec.hidden_dim), np.float32)
        self._fixed_q = np.zeros((1, spec.n_actions), np.float32)
        self._fixed_after = np.zeros((1, spec.hidden_dim), np.float32)
        self._binding = model.session.io_binding()
        self._binding.bind_ortvalue_input("obs", wrap(self._fixed_row))
        self._binding.bind_ortvalue_input("hidden", wrap(self._fixed_hidden))
        if model.with_avail:
            # onnxruntime wants every input, also for outputs that do not depend on it.
            self._all_available = np.ones((1, spec.n_actions), np.bool_)
            self._binding.bind_ortvalue_input("avail", wrap(self._all_available))
        self._binding.bind_ortvalue_output("q", wrap(self._fixed_q))
        self._binding.bind_ortvalue_output("hidden_next", wrap(self._fixed_after))

    def _step(self, row: Floats, hidden: Floats) -> tuple[Floats, Floats]:
        self._fixed_row[:] = row
        self._fixed_hidden[:] = hidden
        self._session.run_with_iobinding(self._binding)
        return self._fixed_q.copy(), self._fixed_after.copy()


class OnnxBackend:
    """Runs `agent.onnx` or `agent.sparse.onnx`; needs the extra `onnx`."""

    name: ClassVar[str] = "onnx"

    @classmethod
    def load(cls, path: Path) -> Model:
        """See `Backend.load`.

        Args:
            path: `agent.onnx` or `agent.sparse.onnx` of an export.
        """
        try:
            import onnxruntime
            from onnxruntime.capi import onnxruntime_pybind11_state as ort
        except ImportError as problem:
            raise MissingExtra("runtime onnx", "onnxruntime", "onnx") from problem
        if path.is_dir() or path.suffix == ".safetensors":
            raise MissingInput(
                f"{path}: the onnx runtime must be given an exported agent.onnx; got another file. "
                "Run: mast-edge export --format onnx"
            )
        guarded = read_guarded(path)
        contract, provenance = _metadata(str(path), guarded.properties)
        form, with_avail = _check_graph(str(path), guarded, contract)
        sha256 = hashlib.sha256(guarded.data).hexdigest()
        try_elsewhere(str(path), guarded.data, sha256)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        options.inter_op_num_threads = 1
        options.log_severity_level = 4
        try:
            session = onnxruntime.InferenceSession(guarded.data, options, providers=["CPUExecutionProvider"])
        except (
            *(ort.Fail, ort.InvalidArgument, ort.InvalidGraph, ort.InvalidProtobuf, ort.NotImplemented),
            *(ort.RuntimeException, RuntimeError, ValueError),
        ) as problem:
            raise ArtifactMalformed(
                f"{path}: model must be one that onnxruntime loads; got {problem!s:.200}. Export again."
            ) from problem
        return OnnxModel(session, onnxruntime, contract, sha256, provenance, form, with_avail)


def _metadata(who: str, properties: dict[str, str]) -> tuple[AgentContract, dict[str, Any]]:
    found = strict_json(who, f"metadata {METADATA_KEY}", properties.get(METADATA_KEY, "").encode())
    contract = AgentContract.from_json(who, found.get("contract"), found.get("env"))
    provenance = found.get("provenance")
    if not isinstance(provenance, dict):
        raise ArtifactMalformed(f"{who}: provenance must be an object; got another type. Export again.")
    return contract, provenance


def _check_graph(who: str, found: GuardedModel, contract: AgentContract) -> tuple[str, bool]:
    """Refuses anything but the graph that the exporter makes for this contract; (form, with avail)."""
    spec, with_avail = contract.spec, "avail" in found.inputs
    wanted = [[*table.items()] for table in ports(spec, with_avail)]
    signature = [[*table.items()] for table in (found.inputs, found.outputs)]
    if signature != wanted:
        raise ArtifactInconsistent(
            f"{who}: inputs and outputs must be {wanted}, as its contract says; got {signature!s:.400}. "
            "Export again."
        )
    if any(node.operator == "GRU" for node in found.nodes):
        form, tensors, nodes = "GRU node", dense_tensors(spec, with_avail), dense_nodes(spec, with_avail)
    else:
        constants = {node.outputs[0] for node in found.nodes if node.operator == "Constant"}
        sparse = [layer for layer in LAYERS if weight_name(layer) in constants]
        form, tensors = "sparse weights written out", sparse_tensors(spec, with_avail)
        nodes = sparse_nodes(sparse, with_avail)
    if found.tensors != tensors:
        odd = sorted(dict(found.tensors.items() ^ tensors.items()))
        raise ArtifactInconsistent(
            f"{who}: tensors must have the shapes of its contract; got a difference in {odd}. Export again."
        )
    for at, (node, ours) in enumerate(zip_longest(found.nodes, nodes)):
        if node != ours:
            raise ArtifactInconsistent(
                f"{who}: node {at} must be {ours!s:.200}; got {node!s:.200}. Export again."
            )
    return form, with_avail
