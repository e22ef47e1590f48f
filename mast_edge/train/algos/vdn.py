"""VDN: q_tot is the sum of the agents' utilities (Sunehag et al. 2018). Not in the paper."""

from torch import Tensor

from mast_edge.config_fields import ExperimentConfig
from mast_edge.spec import EnvSpec
from mast_edge.train.algos.qmix import Qmix
from mast_edge.train.nets import ParameterBank
from mast_edge.widths import Widths


class Vdn(Qmix):
    """QMIX without a mixer."""

    target_networks = ("agent",)

    def __init__(self, config: ExperimentConfig, env: EnvSpec, widths: Widths) -> None:
        super().__init__(config, env, widths)
        del self.networks["mixer"]

    def mix(self, bank: ParameterBank, q: Tensor, state: Tensor) -> Tensor:
        """(M, N) -> (M,), the sum."""
        return q.sum(1)

    def mix_alternatives(self, bank: ParameterBank, chosen: Tensor, q: Tensor, state: Tensor) -> Tensor:
        """(M, N, A): the sum with one agent's utility replaced."""
        return chosen.sum(1)[:, None, None] - chosen.unsqueeze(2) + q
