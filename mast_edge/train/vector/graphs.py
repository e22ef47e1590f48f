"""The update of R runs as CUDA graphs, one per length. Written without a GPU, unmeasured; no CPU uses it.

An update is then one launch. Everything it reads or writes keeps its address: the stacked parameters, the
store of episodes, and a copy of `Places` that is filled before each replay. Evolution, target copies and what
is read back stay outside.

Source: training_speed.md 7, "one run" and "no host syncs".
"""

from collections.abc import Callable, Hashable
from dataclasses import dataclass

import torch

from mast_edge.train.vector.batch import Places
from mast_edge.train.vector.updated import Updated

WARM_UPS = 3
"""Updates before a capture, for libraries to set themselves up; no run takes part in them."""

Compute = Callable[[Places], Updated]


@dataclass(frozen=True, slots=True)
class _Captured:
    graph: torch.cuda.CUDAGraph
    told: Places
    made: Updated


class GraphedUpdates:
    """Captures an update when its key is first met, and replays it from then on."""

    def __init__(self) -> None:
        self._captured: dict[Hashable, _Captured] = {}
        self._generation = 0

    def run(self, key: Hashable, generation: int, compute: Compute, at: Places) -> Updated:
        """One update.

        Args:
            key: of everything that `compute` has fixed: length, and which runs branch alike.
            generation: of the tensors it reads; graphs of earlier ones are forgotten.
            compute: the update; it must change nothing where no run is active.
            at: the drawn episodes.
        """
        if generation != self._generation:
            self._captured, self._generation = {}, generation
        if key not in self._captured:
            self._captured[key] = self._capture(compute, at)
        captured = self._captured[key]
        captured.told.copy_(at)
        captured.graph.replay()
        return captured.made.clone()

    @staticmethod
    def _capture(compute: Compute, at: Places) -> _Captured:
        told = at.clone()
        told.active.zero_()
        stream = torch.cuda.Stream()  # type: ignore[no-untyped-call]
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            for _ in range(WARM_UPS):
                compute(told)
        torch.cuda.current_stream().wait_stream(stream)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, stream=stream):
            made = compute(told)
        return _Captured(graph, told, made)
