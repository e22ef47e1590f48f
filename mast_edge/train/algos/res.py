"""RES: regularised softmax deep multi-agent Q-learning (Pan et al. 2021; algorithms.md 4.3).

Its value is the operator `joint_softmax` of `qmix.py`, this algorithm's default; the penalty is here.
"""

import torch
from torch import Tensor

from mast_edge.train.algos.qmix import Qmix
from mast_edge.train.targets import realised_return
from mast_edge.train.tensor_batch import TensorBatch


class Res(Qmix):
    """QMIX's networks; the loss also keeps q_tot near the returns that were realised."""

    def penalty(self, q_tot: Tensor, batch: TensorBatch) -> Tensor | float:
        """lambda_res * mean (q_tot - ret)^2 over the transitions (algorithms.md 5)."""
        mask = batch.padded(torch.ones_like(batch.reward))
        ret = realised_return(batch.padded(batch.reward), mask, self.config.gamma)
        return self.config.res.penalty * batch.mean((q_tot - batch.at_transitions(ret)).square())
