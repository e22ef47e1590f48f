"""The checkpoint in torch, masked dense: the reference of every parity statement."""

from pathlib import Path
from typing import Any, ClassVar

from mast_edge.checkpoint_files import AgentCheckpoint, read_agent
from mast_edge.contract import AgentContract
from mast_edge.dense_agent import Floats
from mast_edge.errors import MissingExtra, MissingInput
from mast_edge.runtime.backends.base import Model, RowsModel


class TorchModel(RowsModel):
    """An agent as torch's own linear and GRU cell compute it."""

    def __init__(self, checkpoint: AgentCheckpoint, torch: Any) -> None:
        """Takes the weights of a verified checkpoint, inactive ones zeroed by the mask."""
        contract = AgentContract.of(checkpoint.spec, checkpoint.env)
        super().__init__(contract, checkpoint.index_sha256, dict(checkpoint.index), "torch: masked dense")
        self._torch = torch
        self._w = {name: torch.from_numpy(array.copy()) for name, array in checkpoint.weights.items()}
        for layer, mask in checkpoint.masks.items():
            self._w[f"{layer}.weight"] *= torch.from_numpy(mask.copy())

    def step_rows(self, rows: Floats, hidden: Floats) -> tuple[Floats, Floats]:
        """See `RowsModel`."""
        torch, w = self._torch, self._w
        with torch.inference_mode():
            x = torch.relu(torch.nn.functional.linear(torch.from_numpy(rows), w["fc1.weight"], w["fc1.bias"]))
            after = torch.gru_cell(
                x,
                torch.from_numpy(hidden),
                w["gru_ih.weight"],
                w["gru_hh.weight"],
                w["gru_ih.bias"],
                w["gru_hh.bias"],
            )
            q = torch.nn.functional.linear(after, w["fc2.weight"], w["fc2.bias"])
        return q.numpy(), after.numpy()


class TorchBackend:
    """Runs a checkpoint folder; needs the extra `train`."""

    name: ClassVar[str] = "torch"

    @classmethod
    def load(cls, path: Path) -> Model:
        """See `Backend.load`.

        Args:
            path: checkpoint folder.
        """
        try:
            import torch
        except ImportError as problem:
            raise MissingExtra("runtime torch", "torch", "train") from problem
        if not path.is_dir():
            raise MissingInput(
                f"{path}: the torch runtime must be given a checkpoint folder; got no folder. "
                "Use runs/<name>/checkpoints/step-<t_env>."
            )
        return TorchModel(read_agent(path), torch)
