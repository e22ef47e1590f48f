"""Updates in a row: the native learner stays with the torch learner, and repeats itself to the last bit."""

import hashlib
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from benchmarks.learner_cases import random_battles
from mast_edge.envs.maps import env_spec
from mast_edge.train.learners.native import NativeLearner
from mast_edge.train.learners.torch import TorchLearner
from tests.train.algos.toy import make_learner, random_episodes
from tests.train.learners.pairs import ALGORITHMS, LATE, NETWORKS, Pair, expect_agreement, make_pair, sparse

ROOT = Path(__file__).resolve().parents[3]
METHODS = [("dense", "element"), ("mast", "element"), ("rlx2", "element"), ("rigl", "8x1"), ("set", "4x1")]
WIDE = {"hidden_dim": 64, "mixer_embed_dim": 32, "hypernet_dim": 64, "central_dim": 256}
DRIFT = 1e-6
"""How far weights may be apart after a dozen updates, each of up to 10 lr = 5e-3."""


def settings(algorithm: str, method: str, pattern: str = "element") -> dict[str, Any]:
    """Evolutions at every second update and copies at every third one, so that all orders occur."""
    topology = {"interval": 2, "pattern": dict.fromkeys(NETWORKS, pattern)}
    target = {"update_interval": 3, "start": 2}
    return {"algorithm": algorithm, "method": method, "topology": topology, "target": target}


def expect_equal_topologies(one: TorchLearner, other: TorchLearner) -> None:
    assert one.replaced == other.replaced
    assert torch.equal(one.mask, other.mask)
    for network, topology in one.topologies.items():
        for layer, mask in topology.items():
            assert (mask == other.topologies[network][layer]).all(), (network, layer)
            assert (one.born[network][layer] == other.born[network][layer]).all(), (network, layer)


def expect_equal_updates(
    pair: Pair, batches: list[Any], tolerance: float = 1e-5, drift: float = DRIFT
) -> None:
    """Metrics within `tolerance`, then masks to the bit and weights within `drift`."""
    one, other = pair.native, pair.reference
    for t_env, episodes in enumerate(batches, 1):
        metrics, expected = (learner.update(episodes, t_env) for learner in (one, other))
        # Means of both signs may be about 0.
        assert metrics == pytest.approx(expected, rel=tolerance, abs=1e-6)
        expect_equal_topologies(one, other)
        assert not one.online.flat.detach()[one.mask == 0].any()
        assert not one.square_avg[one.mask == 0].any()
    assert one.updates == other.updates == len(batches)
    for mine, theirs in ((one.online, other.online), (one.target, other.target)):
        assert float((mine.flat - theirs.flat).detach().abs().max()) <= drift
    assert torch.allclose(one.square_avg, other.square_avg, rtol=10 * tolerance, atol=1e-9)


@pytest.mark.parametrize(("method", "pattern"), METHODS)
@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_both_learners_go_the_same_way(algorithm, method, pattern) -> None:
    pair, rng = make_pair(**settings(algorithm, method, pattern)), np.random.default_rng(7)
    first = {n: {layer: m.copy() for layer, m in t.items()} for n, t in pair.native.topologies.items()}
    expect_equal_updates(pair, [random_episodes(rng, [5, 8, 3, 12, 1, 9, 9]) for _ in range(6)])
    for network, topology in pair.native.topologies.items():
        moved = [(mask != first[network][layer]).any() for layer, mask in topology.items()]
        assert any(moved) or method == "dense"
    expect_agreement(pair, [5, 8, 3])


@pytest.mark.parametrize(
    ("algorithm", "method", "pattern"),
    [("qmix", "mast", "element"), ("res", "rigl", "8x1"), ("ow_qmix", "dense", "element")],
)
def test_battles_of_a_real_map(algorithm, method, pattern) -> None:
    """3m played at random, the paper's widths and batch size.

    Of so many activations some lie at a kink: after an update learners are apart by more than rounding.
    """
    pair = make_pair(env_spec("3m"), **settings(algorithm, method, pattern), network=WIDE)
    expect_equal_updates(pair, [random_battles("3m", 32, seed) for seed in range(4)], 1e-4, 1e-4)


def test_only_the_norm_of_kept_gradients_is_clipped() -> None:
    for optim in ({"clip_norm": 1e-3}, {"clip_norm": 1e9, "lr": 1e-3, "alpha": 0.9, "eps": 1e-3}):
        pair = make_pair(**settings("qmix", "mast"), optim=optim)
        expect_equal_updates(pair, [random_episodes(np.random.default_rng(i), [7, 4]) for i in range(4)])


def trained(learner: TorchLearner, first: int, last: int) -> TorchLearner:
    """With the updates `first` to `last`, each on a batch of its own."""
    for update in range(first, last + 1):
        rng = np.random.default_rng([3, update])
        lengths = rng.integers(1, 15, 45).tolist()  # three agents: three panels
        learner.update(random_episodes(rng, lengths), update)
    return learner


def state_bytes(state: dict[str, NDArray[Any]]) -> dict[str, bytes]:
    return {name: array.tobytes() for name, array in state.items()}


CASES = [
    (a, m, p) for a in ALGORITHMS for m, p in (("dense", "element"), ("mast", "element"), ("rlx2", "8x1"))
]


@pytest.mark.parametrize(("algorithm", "method", "pattern"), CASES)
def test_a_resumed_learner_and_more_threads_give_the_same_bytes(algorithm, method, pattern) -> None:
    values = {**settings(algorithm, method, pattern), "learner": "native"}
    straight = make_learner(**values)
    middle = {n: a.copy() for n, a in trained(straight, 1, 3).state().items()}
    replaced = dict(straight.replaced)
    expected = state_bytes(trained(straight, 4, 6).state())

    fresh = make_learner(**values, seed=77)
    fresh.load_state(middle, 3, replaced)
    trained(fresh, 4, 6)
    assert state_bytes(fresh.state()) == expected
    assert fresh.updates == 6
    assert fresh.replaced == straight.replaced
    for threads in (2, 4):
        assert state_bytes(trained(make_learner(**values, threads=threads), 1, 6).state()) == expected


def digest() -> str:
    """Of what five updates make of every algorithm."""
    made = hashlib.sha256()
    for algorithm, method, pattern in CASES:
        learner = make_learner(**settings(algorithm, method, pattern), learner="native")
        for name, value in state_bytes(trained(learner, 1, 5).state()).items():
            made.update(name.encode() + value)
    return made.hexdigest()


def test_another_process_gives_the_same_bytes() -> None:
    code = "from tests.train.learners.test_native_updates import digest; print(digest())"
    made = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert made.stdout.strip() == digest()


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_what_one_learner_began_the_other_goes_on_with(algorithm) -> None:
    values = settings(algorithm, "mast")
    pair = make_pair(**values)
    one, other = pair.reference, pair.native
    for update in range(1, 8):
        one.update(random_episodes(np.random.default_rng(update), [4, 9, 2]), update)
        # Anew at every update: between copies the targets' masks are older than the online ones.
        other.load_state({n: a.copy() for n, a in one.state().items()}, one.updates, dict(one.replaced))
        expect_equal_topologies(one, other)
        expect_agreement(pair, [5, 8, 3])
    back = make_learner(**values)
    back.load_state({n: a.copy() for n, a in other.state().items()}, other.updates, dict(other.replaced))
    assert state_bytes(back.state()) == state_bytes(one.state())


def test_the_core_works_on_the_memory_of_the_banks() -> None:
    """Whoever writes weights, as `load_state` does, is heard."""
    pair = make_pair(**sparse(0.8))
    assert isinstance(pair.native, NativeLearner)
    for learner in (pair.reference, pair.native):
        learner.online.flat.detach().mul_(0.9)
        learner.target.flat.mul_(1.1)
    expect_agreement(pair, [5, 8, 3], LATE)
