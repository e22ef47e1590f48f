"""What an algorithm is: the networks it trains, which of them have target copies, and its loss."""

from dataclasses import dataclass
from typing import Protocol

from torch import Tensor

from mast_edge.config_fields import ExperimentConfig
from mast_edge.spec import EnvSpec
from mast_edge.topology import Shapes
from mast_edge.train.nets import ParameterBank, agent_q
from mast_edge.train.tensor_batch import TensorBatch
from mast_edge.widths import Widths


@dataclass(frozen=True, slots=True)
class Loss:
    """What one update is made from.

    Attributes:
        loss: scalar, with gradient.
        q: (P, N, A) online utilities, detached.
        q_tot: (M,) of the taken actions, detached.
        y: (M,) learning targets.
        metrics: further scalars worth logging, detached.
    """

    loss: Tensor
    q: Tensor
    q_tot: Tensor
    y: Tensor
    metrics: dict[str, Tensor]

    def summary(self, batch: TensorBatch) -> dict[str, Tensor]:
        """Scalars worth logging, detached."""
        return {
            "loss": self.loss.detach(),
            "q_tot": batch.mean(self.q_tot),
            "target": batch.mean(self.y),
            "td_error": batch.mean((self.q_tot - self.y).abs()),
            **self.metrics,
        }


class Algorithm(Protocol):
    """Built as `Algorithm(config, env, widths)`.

    Attributes:
        config: resolved experiment.
        networks: network name -> layer shapes, in the order in which their first weights are drawn; `agent`
            is among them and plays.
        target_networks: those that have a target copy (algorithms.md 2.4).
    """

    config: ExperimentConfig
    networks: dict[str, Shapes]
    target_networks: tuple[str, ...]

    def __init__(self, config: ExperimentConfig, env: EnvSpec, widths: Widths) -> None: ...

    def loss(self, online: ParameterBank, target: ParameterBank, batch: TensorBatch, t_env: int) -> Loss:
        """The loss over a batch.

        Args:
            online, target: parameters.
            batch: P packed rows, M transitions.
            t_env: environment steps at this update, for targets that change during training.
        """
        ...

    def q_tot(self, online: ParameterBank, q: Tensor, batch: TensorBatch) -> Tensor:
        """(M,) joint value of the taken actions from (P, N, A) utilities."""
        ...


def utilities(bank: ParameterBank, network: str, batch: TensorBatch) -> Tensor:
    """(P, N, A) utilities of all agents along whole episodes.

    Args:
        bank: parameters.
        network: `agent`, or `cagent`, which has the same shape.
        batch: P packed rows.
    """
    rows, n, _ = batch.inputs.shape
    return agent_q(bank.network(network), batch.inputs.flatten(0, 1), batch.agent_rows(n)).view(rows, n, -1)


def taken(q: Tensor, batch: TensorBatch) -> Tensor:
    """(M, N) utilities of the actions that were taken, from (P, N, A)."""
    return batch.current(q).gather(2, batch.actions.unsqueeze(2)).squeeze(2)
