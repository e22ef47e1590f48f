"""What every export format is given."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from mast_edge.checkpoint_files import AgentCheckpoint
from mast_edge.contract import AgentContract
from mast_edge.dense_agent import Floats
from mast_edge.export.rounding import rounded_weights
from mast_edge.export.verify import Reference
from mast_edge.layers import Layer, layers_of


@dataclass(frozen=True, slots=True)
class Job:
    """One agent to be exported, and how.

    Attributes:
        checkpoint: verified weights and masks.
        reference: recorded episodes and the Q values along them.
        provenance: where it comes from, JSON values without clock or path (runtime.md section 3).
        precision: a name in `layers.PRECISIONS`.
        with_avail: onnx: also take the available actions and give the action.
        prefix: c: what every name begins with.
        weights: those to be written: the checkpoint's, for int8 rounded (`rounding.rounded_weights`).
    """

    checkpoint: AgentCheckpoint
    reference: Reference
    provenance: Mapping[str, Any]
    precision: str = "f32"
    with_avail: bool = False
    prefix: str = "agent"
    weights: Mapping[str, Floats] = field(init=False)

    def __post_init__(self) -> None:
        weights = self.checkpoint.weights
        if self.precision == "int8":
            weights = rounded_weights(self.checkpoint, self.reference.recorded)
        object.__setattr__(self, "weights", weights)

    @property
    def contract(self) -> AgentContract:
        """Sizes and game."""
        return AgentContract.of(self.checkpoint.spec, self.checkpoint.env)

    def layers(self) -> dict[str, Layer]:
        """The tables, in the precision asked for."""
        return layers_of(self.weights, self.checkpoint.masks, self.precision)
