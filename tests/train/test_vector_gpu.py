"""Many runs on a GPU: captured updates on cached episodes do what the CPU does, and wait for nothing."""

from pathlib import Path

import numpy as np
import pytest
import torch

from mast_edge.train.learners.torch import Divergence
from mast_edge.train.replay import Episode, ReplayBuffers
from mast_edge.train.vector.batch import places
from mast_edge.train.vector.learner import VectorLearner
from mast_edge.train.vector.loop import train_at_once
from tests.train.algos import toy
from tests.train.small_runs import small
from tests.train.test_vector import ALGORITHMS, LATE, RUNS, batches, learners, relative

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
]


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_captured_updates_are_those_of_the_cpu(algorithm: str, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.backends.cuda.matmul.allow_tf32 = False
    alone = learners(algorithm)
    with monkeypatch.context() as patch:
        patch.setattr(toy, "CPU", torch.device("cuda"))
        together = learners(algorithm)
    replays = [ReplayBuffers(6, 4, 3, 1) for _ in RUNS]
    vector, rng = VectorLearner(together, replays), np.random.default_rng(5)
    draws = [np.random.default_rng(r) for r in range(len(RUNS))]
    for _ in range(6):
        for replay, episodes in zip(replays, batches(rng), strict=True):
            for episode in episodes:
                replay.add(episode)
        drawn = [replay.draw(draw) for replay, draw in zip(replays, draws, strict=True)]
        vector.update(drawn, [LATE] * len(RUNS))
        for learner, episodes in zip(alone, drawn, strict=True):
            learner.update(episodes, LATE)
    assert not any(isinstance(told, Divergence) for told in vector.read())
    assert vector.graphs is not None
    for one, other in zip(alone, together, strict=True):
        assert relative(other.online.flat.detach().cpu(), one.online.flat.detach()) < 1e-3
    expect_no_waiting(vector, drawn)


def expect_no_waiting(vector: VectorLearner, drawn: list[list[Episode]]) -> None:
    """An update that is not captured raises where the host would wait for the device."""
    assert vector.cache is not None
    at = places(drawn, vector.cache.starts(drawn), 3, [True] * len(RUNS)).to(vector.device)
    torch.cuda.set_sync_debug_mode("error")
    try:
        vector._compute(vector.cache.rows, at, 24, vector._groups([LATE] * len(RUNS)))
    finally:
        torch.cuda.set_sync_debug_mode("default")


def test_runs_are_trained_on_the_gpu(tmp_path: Path) -> None:
    configs = [small("qmix", method, seed=seed, t_max=400) for seed, method in ((1, "mast"), (2, "dense"))]
    results = train_at_once(configs, device="cuda", runs_root=tmp_path)
    assert [result.status for result in results] == ["complete"] * 2
