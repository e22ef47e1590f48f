"""The learners that `benchmarks/learner.py` measures, and the proof that they compute the same.

Source: training_speed.md, section 9.
"""

import functools
import importlib
import importlib.util
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from benchmarks.learner_cases import uniform_topology
from benchmarks.stepwise import StepwiseLearner
from mast_edge.config import resolve
from mast_edge.errors import MastEdgeError
from mast_edge.registry import ALGORITHMS, SPARSE_METHODS
from mast_edge.registry import resolve as by_name
from mast_edge.spec import EnvSpec
from mast_edge.topology import Topology
from mast_edge.train import nets
from mast_edge.train.learners.torch import TorchLearner
from mast_edge.train.recurrence import gru
from mast_edge.train.replay import Episode
from mast_edge.widths import network_widths

SPARSITIES = (50, 80, 90, 95)
"""In %."""
GOAL_SPARSITY = 90
"""That of the goals, of uniform masks, and of other algorithms than qmix."""
NATIVE = "mast_edge.train.learners.native"
TOLERANCE = 1e-5


class TorchGru(TorchLearner):
    """The reference learner with torch's own GRU."""

    def update(self, episodes: Sequence[Episode], t_env: int) -> dict[str, float]:
        """As `TorchLearner.update`."""
        nets.gru = functools.partial(gru, native=False)  # type: ignore[attr-defined]
        try:
            return super().update(episodes, t_env)
        finally:
            nets.gru = gru  # type: ignore[attr-defined]


@dataclass
class Variant:
    """One learner under measurement.

    Attributes:
        name, case: of its row.
        sparsity: in %, 0 = no masks.
        learner: has `update(episodes, t_env)`.
        disagreement: largest relative difference of loss, norm and gradients from the torch learner's.
        cpu, wall: ms of each round.
    """

    name: str
    case: str
    sparsity: int
    learner: Any
    disagreement: float = 0.0
    cpu: list[float] = field(default_factory=list)
    wall: list[float] = field(default_factory=list)


def make(
    kind: type[TorchLearner],
    env: EnvSpec,
    algorithm: str,
    sparsity: int = 0,
    pattern: str = "element",
    masks: Mapping[str, Topology] | None = None,
) -> TorchLearner:
    """A learner as the trainer builds it: always the same weights, and the same masks at one sparsity."""
    values: dict[str, Any] = {"env": {"map": env.map_name}, "algorithm": algorithm, "method": "dense"}
    if sparsity:
        values |= {"method": "ss", "sparsity": sparsity / 100, "topology": {"pattern": pattern}}
    config = resolve(values)
    made = by_name("algorithm", ALGORITHMS, algorithm)(config, env, network_widths(config, env))
    rng = np.random.default_rng(1)
    of_network = functools.partial(by_name("method", SPARSE_METHODS, config.method), config.topology)
    methods = {network: of_network(network, config.sparsity, rng) for network in made.networks}
    return kind(config, made, methods, env, np.random.default_rng(2), torch.device("cpu"), masks)


def native_learner() -> type[TorchLearner] | None:
    """The native learner's class; None where the package has none."""
    if importlib.util.find_spec(NATIVE) is None:
        return None
    found: type[TorchLearner] = importlib.import_module(NATIVE).NativeLearner
    return found


def variants(env: EnvSpec, algorithm: str, native: type[TorchLearner] | None) -> list[Variant]:
    """Everything that is measured on one map."""
    where, full = env.map_name, algorithm == "qmix"
    reference = make(TorchLearner, env, algorithm)
    found = [Variant("stepwise", where, 0, StepwiseLearner(reference.config, env))] if full else []
    found.append(Variant("torch", where, 0, reference))
    if full:
        found.append(Variant("torch_gru", where, 0, make(TorchGru, env, algorithm)))
    if native is None:
        return found
    found.append(Variant("native_dense", where, 0, make(native, env, algorithm)))
    for sparsity in SPARSITIES if full else (GOAL_SPARSITY,):
        case = f"{where}@{sparsity}"
        found.append(Variant("native", case, sparsity, make(native, env, algorithm, sparsity)))
        if full:
            blocks = make(native, env, algorithm, sparsity, "8x1")
            found.append(Variant("native_8x1", f"{case}/8x1", sparsity, blocks))
    if full:
        rng, networks = np.random.default_rng(3), reference.algorithm.networks
        masks = {n: uniform_topology(layers, GOAL_SPARSITY / 100, rng) for n, layers in networks.items()}
        uniform = make(native, env, algorithm, GOAL_SPARSITY, masks=masks)
        found.append(Variant("native_uniform", f"{where}@{GOAL_SPARSITY}", GOAL_SPARSITY, uniform))
    return found


def expect_agreement(
    variant: Variant, env: EnvSpec, algorithm: str, batches: Sequence[Sequence[Episode]]
) -> None:
    """One update's loss, norm and gradients equal the torch learner's with the same masks and weights.

    Targets are moved away from the online networks first. Sets `variant.disagreement`. Where an activation
    lies within rounding of a kink (of |x| or ReLU) both slopes are right, and one sample's gradient differs:
    the next batch is tried then. What is wrong disagrees on all.

    Args:
        variant: its learner is moved by the update.
        env: of the map.
        algorithm: of both learners.
        batches: at least one; they are tried in order.

    Raises:
        MastEdgeError: they differ by more than 1e-5 relative on every batch; of a gradient, relative to the
            largest entry of its tensor.
    """
    worst: dict[str, float] = {}
    for episodes in batches:
        errors = _disagreements(variant, env, algorithm, episodes)
        place = max(errors, key=errors.__getitem__)
        if all(error <= TOLERANCE for error in errors.values()):  # not a number is no agreement
            variant.disagreement = errors[place]
            return
        worst[place] = errors[place]
    place = min(worst, key=worst.__getitem__)
    raise MastEdgeError(
        f"benchmark learner: {variant.name} of {variant.case} must agree with torch within {TOLERANCE}; got "
        f"{worst[place]:.2g} in {place}. Its times would say nothing; run the tests of the learners."
    )


def _disagreements(
    variant: Variant, env: EnvSpec, algorithm: str, episodes: Sequence[Episode]
) -> dict[str, float]:
    """Of loss, norm and every gradient, relative."""
    theirs = variant.learner
    topologies = getattr(theirs, "topologies", None)
    reference = make(TorchLearner, env, algorithm, variant.sparsity, masks=topologies)
    state = reference.state()
    noise = np.random.default_rng(4).uniform(0.7, 1.3, state["target"].shape)
    reference.load_state(state | {"target": (state["target"] * noise).astype(np.float32)}, 0, {})
    if isinstance(theirs, StepwiseLearner):
        theirs.load(reference.online.tensors, reference.target.tensors)
    else:
        theirs.load_state(reference.state(), 0, {})
    (metrics, gradients), (right, expected) = (first_update(x, episodes) for x in (theirs, reference))
    errors = {name: abs(metrics[name] / right[name] - 1) for name in ("loss", "grad_norm")}
    for name, gradient in expected.items():
        errors[name] = float((gradients[name] - gradient).abs().max() / gradient.abs().max())
    return errors


def first_update(
    learner: TorchLearner | StepwiseLearner, episodes: Sequence[Episode]
) -> tuple[dict[str, float], dict[str, Tensor]]:
    """Metrics and clipped gradients of a learner's first update.

    Those of a bank are read from what a checkpoint holds, whatever a learner keeps in between: RMSprop starts
    from v = 0, so that v = (1 - alpha) g^2, and a weight moves against g.
    """
    if isinstance(learner, StepwiseLearner):
        return learner.update(episodes, 0), learner.gradients()
    before = learner.state()["online"].copy()
    metrics, after = learner.update(episodes, 0), learner.state()
    size = np.sqrt(after["square_avg"] / (1 - learner.config.optim.alpha))
    flat = np.sign(before - after["online"]) * size
    return metrics, learner.online.views(torch.from_numpy(flat.astype(np.float32)))
