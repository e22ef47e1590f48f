"""A small battle that never was: sizes, random ragged episodes, and learners on them."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import fields, replace

import numpy as np
import torch
from torch import Tensor

from mast_edge.config import resolve
from mast_edge.registry import ALGORITHMS, SPARSE_METHODS
from mast_edge.registry import resolve as resolve_name
from mast_edge.spec import EnvSpec
from mast_edge.topology import Topology
from mast_edge.train.algos.base import Loss
from mast_edge.train.learners.choice import chosen_learner
from mast_edge.train.learners.torch import TorchLearner
from mast_edge.train.nets import ParameterBank
from mast_edge.train.replay import Episode, PackedBatch, pack
from mast_edge.train.tensor_batch import TensorBatch, tensor_batch
from mast_edge.widths import network_widths

SPEC = EnvSpec("3m", "toy", n_agents=3, n_actions=5, obs_dim=7, state_dim=11, episode_limit=20)
NETWORK = {"hidden_dim": 16, "mixer_embed_dim": 8, "hypernet_dim": 12, "central_dim": 16}
"""Small, but wide enough for the native GRU (a multiple of 16)."""
CPU = torch.device("cpu")


def make_learner(
    spec: EnvSpec = SPEC,
    *,
    seed: int = 2,
    masks: dict[str, Topology] | None = None,
    learner: str = "torch",
    threads: int = 1,
    **values: object,
) -> TorchLearner:
    """A learner as the trainer builds it; `values` as in a config file. `threads` are the native one's."""
    torch.set_num_threads(1)
    config = resolve({"env": {"map": "3m"}, "network": NETWORK, **values})
    algorithm = resolve_name("algorithm", ALGORITHMS, config.algorithm)(
        config, spec, network_widths(config, spec)
    )
    method, rng = resolve_name("method", SPARSE_METHODS, config.method), np.random.default_rng(1)
    methods = {n: method(config.topology, n, config.sparsity, rng) for n in algorithm.networks}
    made = chosen_learner(learner, CPU, config, spec, threads)
    return made(config, algorithm, methods, spec, np.random.default_rng(seed), CPU, masks)


def random_episodes(rng: np.random.Generator, lengths: list[int], spec: EnvSpec = SPEC) -> list[Episode]:
    """Ragged episodes that end in turn by a decision and by the limit; every action taken was available."""
    n, a, episodes = spec.n_agents, spec.n_actions, []
    for i, length in enumerate(lengths):
        avail = (rng.random((length + 1, n, a)) < 0.4).astype(np.uint8)
        avail[..., 1] = 1
        chances = rng.random((length, n, a)) * avail[:-1]
        episodes.append(
            Episode(
                obs=rng.normal(size=(length + 1, n, spec.obs_dim)).astype(np.float32),
                state=rng.normal(size=(length + 1, spec.state_dim)).astype(np.float32),
                avail=avail,
                actions=chances.argmax(-1).astype(np.uint8),
                reward=rng.normal(size=length).astype(np.float32),
                terminated=i % 2 == 0,
                timed_out=i % 2 == 1,
            )
        )
    return episodes


def packed(episodes: list[Episode], spec: EnvSpec = SPEC, *, timeout_is_terminal: bool = True) -> PackedBatch:
    """`pack` with the toy's sizes."""
    return pack(episodes, spec, timeout_is_terminal=timeout_is_terminal)


@contextmanager
def precision(dtype: torch.dtype) -> Iterator[None]:
    """Parameters made inside have this type: in float64 formulas can be compared to the last digits."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        yield
    finally:
        torch.set_default_dtype(before)


def as_tensors(batch: PackedBatch, dtype: torch.dtype = torch.float32) -> TensorBatch:
    """The batch on the CPU, its floats in `dtype`."""
    made = tensor_batch(batch, CPU)
    floats = [f.name for f in fields(made) if getattr(made, f.name).is_floating_point()]
    return replace(made, **{name: getattr(made, name).to(dtype) for name in floats})


class Linear:
    """Its gradient is what a test says: the loss is sum(gradient * weight) of one layer, fc1."""

    target_networks = ("agent",)

    def __init__(self, shape: tuple[int, int]) -> None:
        self.networks = {"agent": {"fc1": shape}}
        self.gradient = torch.zeros(shape)

    def loss(self, online: ParameterBank, target: ParameterBank, batch: TensorBatch, t_env: int) -> Loss:
        nothing = torch.zeros(1)
        return Loss((self.gradient * online.tensors["agent.fc1.weight"]).sum(), nothing, nothing, nothing, {})

    def q_tot(self, online: ParameterBank, q: Tensor, batch: TensorBatch) -> Tensor:
        raise NotImplementedError("no values, only gradients")


class HandMade:
    """A real learner and a real method on one layer, with weights, mask and gradients from a test.

    Args:
        weight: (out, in) first weights; None: zeros.
        mask: (out, in) of 0 and 1.
        values: as in a config file.
    """

    def __init__(self, weight: object, mask: object, **values: object) -> None:
        kept = np.array(mask, bool)
        config = resolve({"env": {"map": "3m"}, **values})
        self.algorithm = Linear(kept.shape)
        method = resolve_name("method", SPARSE_METHODS, config.method)
        methods = {"agent": method(config.topology, "agent", config.sparsity, np.random.default_rng(0))}
        masks = {"agent": {"fc1": kept}}
        rng = np.random.default_rng(0)
        self.learner = TorchLearner(config, self.algorithm, methods, SPEC, rng, CPU, masks)
        with torch.no_grad():
            self.learner.online.flat.zero_()
            if weight is not None:
                self.weight.copy_(torch.tensor(weight))
            self.learner.target.flat.copy_(self.learner.online.flat)
        self.batch = random_episodes(np.random.default_rng(0), [2])

    def update(self, gradient: object, t_env: int = 0) -> None:
        """One update with this dense gradient."""
        self.algorithm.gradient = torch.tensor(np.array(gradient, np.float32))
        self.learner.update(self.batch, t_env)

    @property
    def weight(self) -> Tensor:
        """(out, in), now."""
        return self.learner.online.tensors["agent.fc1.weight"].detach()

    @property
    def target(self) -> Tensor:
        """(out, in) of the target copy."""
        return self.learner.target.tensors["agent.fc1.weight"]

    @property
    def square_avg(self) -> Tensor:
        """(out, in), RMSprop's v."""
        return self.learner.online.views(self.learner.square_avg)["agent.fc1.weight"]

    @property
    def mask(self) -> list[list[int]]:
        """(out, in), now."""
        return self.learner.topologies["agent"]["fc1"].astype(int).tolist()

    @property
    def born(self) -> list[list[int]]:
        """(out, in), updates at which weights were grown."""
        return self.learner.born["agent"]["fc1"].tolist()
