"""The exported ONNX model in onnxruntime, one thread, buffers bound once per agent."""

import hashlib
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from mast_edge.artifact_header import strict_json
from mast_edge.contract import AgentContract
from mast_edge.dense_agent import Floats
from mast_edge.errors import ArtifactInconsistent, ArtifactMalformed, MissingExtra, MissingInput
from mast_edge.runtime.backends.base import Cell, Model, RowsCell, RowsModel
from mast_edge.runtime.backends.onnx_guard import read_guarded
from mast_edge.spec import AgentSpec

METADATA_KEY = "mast_edge"


class OnnxModel(RowsModel):
    """An agent as an inference session; sessions may be run by several threads."""

    def __init__(
        self, session: Any, ort: Any, contract: AgentContract, sha256: str, provenance: dict[str, Any]
    ) -> None:
        """Keeps an open session; the rest as in `Model`."""
        super().__init__(contract, sha256, provenance, f"onnxruntime {ort.__version__}: GRU node, 1 thread")
        self.session = session
        self.ort = ort

    def step_rows(self, rows: Floats, hidden: Floats) -> tuple[Floats, Floats]:
        """See `RowsModel`."""
        q, after = self.session.run(["q", "hidden_next"], {"obs": rows, "hidden": hidden})
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
        self._binding.bind_ortvalue_output("q", wrap(self._fixed_q))
        self._binding.bind_ortvalue_output("hidden_next", wrap(self._fixed_after))

    def _step(self, row: Floats, hidden: Floats) -> tuple[Floats, Floats]:
        self._fixed_row[:] = row
        self._fixed_hidden[:] = hidden
        self._session.run_with_iobinding(self._binding)
        return self._fixed_q.copy(), self._fixed_after.copy()


class OnnxBackend:
    """Runs `agent.onnx`; needs the extra `onnx`."""

    name: ClassVar[str] = "onnx"

    @classmethod
    def load(cls, path: Path) -> Model:
        """See `Backend.load`.

        Args:
            path: `agent.onnx` of an export.
        """
        try:
            import onnxruntime
        except ImportError as problem:
            raise MissingExtra("runtime onnx", "onnxruntime", "onnx") from problem
        if path.is_dir() or path.suffix == ".safetensors":
            raise MissingInput(
                f"{path}: the onnx runtime must be given an exported agent.onnx; got another file. "
                "Run: mast-edge export --format onnx"
            )
        guarded = read_guarded(path)
        contract, provenance = _metadata(str(path), guarded.properties)
        _check_tensors(str(path), guarded.tensors, contract.spec)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        options.inter_op_num_threads = 1
        options.log_severity_level = 4
        try:
            session = onnxruntime.InferenceSession(guarded.data, options, providers=["CPUExecutionProvider"])
        except (RuntimeError, ValueError) as problem:
            raise ArtifactMalformed(
                f"{path}: model must be one that onnxruntime loads; "
                f"got {str(problem).splitlines()[0]}. Export again."
            ) from problem
        _check_signature(str(path), session, contract)
        return OnnxModel(session, onnxruntime, contract, hashlib.sha256(guarded.data).hexdigest(), provenance)


def _metadata(who: str, properties: dict[str, str]) -> tuple[AgentContract, dict[str, Any]]:
    found = strict_json(who, f"metadata {METADATA_KEY}", properties.get(METADATA_KEY, "").encode())
    contract = AgentContract.from_json(who, found.get("contract"), found.get("env"))
    provenance = found.get("provenance")
    if not isinstance(provenance, dict):
        raise ArtifactMalformed(f"{who}: provenance must be an object; got another type. Export again.")
    return contract, provenance


def _check_tensors(who: str, found: dict[str, tuple[int, ...]], spec: AgentSpec) -> None:
    h, a = spec.hidden_dim, spec.n_actions
    expected: dict[str, tuple[int, ...]] = {
        "fc1.weight": (h, spec.input_dim),
        "fc1.bias": (h,),
        "gru.W": (1, 3 * h, h),
        "gru.R": (1, 3 * h, h),
        "gru.B": (1, 6 * h),
        "fc2.weight": (a, h),
        "fc2.bias": (a,),
        "sequence_axis": (1,),
    }
    if found != expected:
        odd = sorted(dict(found.items() ^ expected.items()))
        raise ArtifactInconsistent(
            f"{who}: tensors must have the shapes of its contract; got a difference in {odd}. Export again."
        )


def _check_signature(who: str, session: Any, contract: AgentContract) -> None:
    spec = contract.spec
    expected = [
        ("obs", spec.input_dim),
        ("hidden", spec.hidden_dim),
        ("q", spec.n_actions),
        ("hidden_next", spec.hidden_dim),
    ]
    found = [(entry.name, *entry.shape[1:]) for entry in (*session.get_inputs(), *session.get_outputs())]
    if found != expected:
        raise ArtifactInconsistent(
            f"{who}: inputs and outputs must be {expected}, as its contract says; got {found!s:.200}. "
            "Export again."
        )
