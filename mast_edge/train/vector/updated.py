"""What an update of R runs leaves on the device, and how the host reads many of them at once."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mast_edge.train.learners.torch import Divergence

CHECKED = ("loss", "utilities", "gradient norm", "target weights", "weights")
"""What has to be finite, in the words of `Divergence`; new weights are looked at last."""

Told = list[dict[str, float]] | Divergence


@dataclass(frozen=True, slots=True)
class Updated:
    """One update.

    Attributes:
        names: of its metrics.
        values: (1 + len(CHECKED) + len(names), R) float32: 1 where the run took part and had not diverged
            before; 1 where what is checked is finite; metrics.
    """

    names: tuple[str, ...]
    values: Tensor

    @classmethod
    def of(cls, active: Tensor, finite: Tensor, metrics: dict[str, Tensor]) -> "Updated":
        """From (R,) bool, (len(CHECKED), R) bool, and (R,) for each metric."""
        rows = [active.float(), *finite.float(), *metrics.values()]
        return cls(tuple(metrics), torch.stack(rows))

    def clone(self) -> "Updated":
        """A copy that the next replay of a graph does not overwrite."""
        return Updated(self.names, self.values.clone())


def read_updates(made: Sequence[Updated], counts: Sequence[Sequence[int]]) -> list[Told]:
    """Metrics of every run's updates, or the error of the first that was not finite; waits for the device.

    Args:
        made: updates in order, at least one.
        counts: each run's number of updates after each of them.
    """
    host = torch.stack([update.values for update in made]).cpu().numpy()
    return [_of_run(host[:, :, r], [c[r] for c in counts], made[0].names) for r in range(host.shape[2])]


def _of_run(values: NDArray[np.float32], counts: Sequence[int], names: Sequence[str]) -> Told:
    metrics = []
    for column, count in zip(values, counts, strict=True):
        active, finite, numbers = column[0] > 0, column[1 : 1 + len(CHECKED)] > 0, column[1 + len(CHECKED) :]
        if active and not finite.all():
            wrong = [name for name, good in zip(CHECKED, finite, strict=True) if not good]
            return Divergence.at(count, [name for name in wrong if name != CHECKED[-1]] or wrong)
        if active:
            metrics.append(dict(zip(names, numbers.tolist(), strict=True)))
    return metrics
