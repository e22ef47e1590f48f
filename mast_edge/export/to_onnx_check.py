"""Holds an ONNX file, read back, against the checkpoint: onnx's checker, random rows and the golden steps.

The model runs in onnx's reference evaluator, operator by operator in numpy; onnxruntime is not needed.

Source: runtime.md section 4, last row.
"""

from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx.reference import ReferenceEvaluator
from onnx.reference.op_run import OpRun, SparseTensor

from mast_edge.checkpoint_files import AgentCheckpoint
from mast_edge.dense_agent import DenseAgent, Floats, Ints, assemble, forward, masked_argmax
from mast_edge.errors import ArtifactRefused
from mast_edge.export.verify import TOLERANCE
from mast_edge.golden import check_golden, golden_answers
from mast_edge.spec import AgentSpec

BATCHES = (1, 8)
RANDOM_STEPS = 256


class Constant(OpRun):
    """`Constant(sparse_value)`, its zeros written out; onnx's own evaluator leaves it sparse and fails."""

    op_domain = ""

    def _run(self, sparse_value: SparseTensor) -> tuple[Floats]:
        dense = np.zeros(sparse_value.shape, np.float32)
        dense.ravel()[sparse_value.indices] = sparse_value.values
        return (dense,)


class EvaluatedModel:
    """An ONNX file in onnx's reference evaluator.

    Attributes:
        with_avail: it takes `avail` and gives `action`.
    """

    def __init__(self, path: Path, spec: AgentSpec) -> None:
        """Reads and checks a file.

        Args:
            path: what `export_onnx` wrote.
            spec: its sizes.

        Raises:
            ArtifactRefused: onnx's checker or its strict shape inference refuses the model.
        """
        try:
            model = onnx.load_model_from_string(path.read_bytes())
            onnx.checker.check_model(model, full_check=True)
            onnx.shape_inference.infer_shapes(model, check_type=True, strict_mode=True, data_prop=True)
        except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as problem:
            raise ArtifactRefused(
                f"{path}: model must pass onnx's checker; got {problem}. Report this."
            ) from problem
        self._evaluator = ReferenceEvaluator(model, new_ops=[Constant])
        self._spec = spec
        self.with_avail = "avail" in self._evaluator.input_names

    def step_rows(self, rows: Floats, hidden: Floats) -> tuple[Floats, Floats]:
        """(assembled rows (B, F), hidden (B, H)) -> (q (B, A), hidden)."""
        inputs: dict[str, Any] = {"obs": rows, "hidden": hidden}
        if self.with_avail:
            inputs["avail"] = np.ones((len(rows), self._spec.n_actions), np.bool_)
        q, after = self._evaluator.run(["q", "hidden_next"], inputs)
        return np.asarray(q), np.asarray(after)

    def act(self, rows: Floats, hidden: Floats, avail: NDArray[np.bool_]) -> tuple[Floats, Floats, Ints]:
        """(q, hidden, action (B,)) of a model with `avail` (B, A)."""
        q, after, action = self._evaluator.run(None, {"obs": rows, "hidden": hidden, "avail": avail})
        return np.asarray(q), np.asarray(after), np.asarray(action)


def check_file(path: Path, checkpoint: AgentCheckpoint) -> None:
    """Refuses a file that is not valid ONNX or does not answer as the checkpoint does.

    256 random recurrent steps and the golden steps, each at batch 1 and 8.

    Raises:
        ArtifactRefused: with what is wrong.
    """
    model = EvaluatedModel(path, checkpoint.spec)
    for batch in BATCHES:
        _check_random(str(path), checkpoint, model, batch)
    _check_golden(str(path), checkpoint, model)


def _check_random(who: str, checkpoint: AgentCheckpoint, model: EvaluatedModel, batch: int) -> None:
    spec, agent = checkpoint.spec, DenseAgent(checkpoint.spec, checkpoint.weights)
    rng = np.random.default_rng(batch)
    hidden = np.zeros((batch, spec.hidden_dim), np.float32)
    for _ in range(RANDOM_STEPS // batch):
        rows = rng.standard_normal((batch, spec.input_dim)).astype(np.float32)
        avail = rng.random((batch, spec.n_actions)) < 0.5
        avail[np.arange(batch), rng.integers(spec.n_actions, size=batch)] = True
        expected, expected_hidden = forward(agent.affine, rows, hidden)
        if model.with_avail:
            q, after, action = model.act(rows, hidden, avail)
        else:
            q, after = model.step_rows(rows, hidden)
            action = masked_argmax(q, avail)
        _require_close(who, "Q on random rows", q, expected)
        _require_close(who, "hidden state on random rows", after, expected_hidden)
        _require_action(who, q, expected, avail, action)
        hidden = expected_hidden


def _require_close(who: str, what: str, found: Floats, expected: Floats) -> None:
    error = np.abs(found - expected)
    if found.shape != expected.shape or not (error <= TOLERANCE * np.maximum(1.0, np.abs(expected))).all():
        raise ArtifactRefused(
            f"{who}: {what} must be the checkpoint's within {TOLERANCE}; "
            f"got {error.max():.3g} off. Nothing was exported; report this."
        )


def _require_action(who: str, q: Floats, expected: Floats, avail: NDArray[np.bool_], action: Ints) -> None:
    """Another action than the checkpoint's only where its lead is at most twice the error."""
    error = np.abs(q - expected).max(axis=1)
    masked = np.where(avail, expected, -np.inf)
    chosen = np.take_along_axis(masked, action[:, None], axis=1)[:, 0]
    if (masked.max(axis=1) - chosen > 2 * error).any():
        raise ArtifactRefused(
            f"{who}: actions on random rows must be the checkpoint's; got another where the lead exceeds "
            "twice the error. Nothing was exported; report this."
        )


def _check_golden(who: str, checkpoint: AgentCheckpoint, model: EvaluatedModel) -> None:
    """The golden steps, recurrent; a larger batch repeats the row, and every copy must answer alike."""
    spec = checkpoint.spec
    golden_q, golden_actions = golden_answers(spec, DenseAgent(spec, checkpoint.weights).affine)
    for batch in BATCHES:

        def step(obs: Floats, last: Ints, ids: Ints, hidden: Floats, n: int = batch) -> tuple[Floats, Floats]:
            rows = assemble(spec, obs, last, ids)
            q, after = model.step_rows(np.repeat(rows, n, axis=0), np.repeat(hidden, n, axis=0))
            _require_close(who, f"golden Q in a batch of {n}", q, np.repeat(q[:1], n, axis=0))
            return q[:1], after[:1]

        check_golden(who, spec, golden_q, golden_actions, step)
