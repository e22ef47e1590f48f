"""Both learners on the same weights, masks and episodes, and how far apart their results are."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from mast_edge.spec import EnvSpec
from mast_edge.topology import Topology
from mast_edge.train.learners.native import NativeLearner
from mast_edge.train.learners.torch import TorchLearner
from mast_edge.train.replay import Episode
from tests.train.algos.toy import SPEC, make_learner, random_episodes

ALGORITHMS = ["qmix", "ow_qmix", "res", "vdn"]
NETWORKS = ("agent", "mixer", "cagent", "cmixer")
LATE = 1_999_999
"""Environment steps at which every return rule has begun."""
TOLERANCE = 1e-5


@dataclass
class Pair:
    """The reference, and what is compared with it."""

    reference: TorchLearner
    native: NativeLearner
    spec: EnvSpec


def make_pair(
    spec: EnvSpec = SPEC, *, masks: dict[str, Topology] | None = None, seed: int = 2, **values: object
) -> Pair:
    """Learners whose target networks differ from the online ones; `values` as in a config file."""
    made = [
        make_learner(
            spec, seed=seed, masks=masks and {n: dict(m) for n, m in masks.items()}, learner=name, **values
        )
        for name in ("torch", "native")
    ]
    factors = np.random.default_rng(4).uniform(0.7, 1.3, len(made[0].target.flat)).astype(np.float32)
    for learner in made:
        learner.target.flat.mul_(torch.from_numpy(factors))
    reference, native = made
    assert isinstance(native, NativeLearner)
    return Pair(reference, native, spec)


def sparse(sparsity: float, pattern: str = "element", **values: object) -> dict[str, object]:
    """Config values: masks in all networks, or none at sparsity 0; they evolve at every update."""
    if sparsity == 0:
        return {"method": "dense", **values}
    topology = {"pattern": dict.fromkeys(NETWORKS, pattern), "interval": 1}
    return {"method": "rigl", "sparsity": sparsity, "topology": topology, **values}


def torch_gradients(
    learner: TorchLearner, episodes: Sequence[Episode], t_env: int
) -> tuple[dict[str, float], torch.Tensor]:
    """Metrics, and the dense gradient as a flat copy."""
    learner.online.grad.zero_()
    batch = learner._tensors(episodes)
    made = learner.algorithm.loss(learner.online, learner.target, batch, t_env)
    made.loss.backward()
    metrics = {name: float(value.detach()) for name, value in made.summary(batch).items()}
    return metrics, learner.online.grad.clone()


def disagreements(
    pair: Pair, episodes: Sequence[Episode], t_env: int, floor: float = 0.0
) -> dict[str, float]:
    """Of every metric, and of every gradient relative to the largest entry of its tensor, or to `floor`: all
    entries, and those of kept weights alone."""
    expected, dense = torch_gradients(pair.reference, episodes, t_env)
    native, errors = pair.native, dict[str, float]()
    for every in (True, False):
        metrics, finite = native.gradients(episodes, t_env, every=every)
        assert finite
        assert metrics.keys() == expected.keys()
        errors |= {f"{n} {every}": abs(metrics[n] - v) / abs(v) for n, v in expected.items()}
        kept = torch.ones_like(native.mask) if every else native.mask
        views = (native.online.views(grad * kept) for grad in (native.online.grad, dense))
        errors |= {f"{name} {every}": furthest(a, b, floor) for (name, a), b in pairwise(*views)}
    return errors


def pairwise(
    one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]
) -> Iterable[tuple[tuple[str, torch.Tensor], torch.Tensor]]:
    """((name, one's tensor), the other's)."""
    assert one.keys() == other.keys()
    return zip(one.items(), other.values(), strict=True)


def furthest(found: torch.Tensor, expected: torch.Tensor, floor: float = 0.0) -> float:
    """Largest difference relative to the largest expected entry; 0 where both are zero."""
    difference, largest = float((found - expected).abs().max()), max(float(expected.abs().max()), floor)
    return difference / largest if largest else difference


def expect_agreement(
    pair: Pair, lengths: list[int], t_env: int = LATE, *, seed: int = 3, tries: int = 3, floor: float = 0.0
) -> int:
    """Everything agrees within 1e-5 on a batch of these lengths.

    Where an activation lies within rounding of a kink (of |x|, ReLU or an argmax) both slopes are right, and
    where a sum all but cancels neither learner has five digits: other numbers are tried then. What is wrong
    disagrees on all.

    Args:
        floor: gradients below it count as if they were as large.

    Returns:
        How many batches were tried.
    """
    worst: dict[str, float] = {}
    for attempt in range(tries):
        episodes = random_episodes(np.random.default_rng([seed, attempt]), lengths, pair.spec)
        errors = disagreements(pair, episodes, t_env, floor)
        wrong = {name: error for name, error in errors.items() if not error <= TOLERANCE}
        if not wrong:
            return attempt + 1
        worst = min(worst, wrong, key=lambda w: max(w.values())) if worst else wrong
    raise AssertionError(f"{tries} batches of lengths {lengths} disagree, at best in {worst}")
