"""The benchmark of learners: its cases, that unequal learners are not timed, and what its numbers mean."""

from dataclasses import replace

import msgspec
import numpy as np
import pytest

from benchmarks.learner import NOT_SLOWER, benchmark_learner, rows_of, table
from benchmarks.learner_cases import Batch, Rates, batches, floor_ms, uniform_topology
from benchmarks.learner_variants import Variant, expect_agreement, make, native_learner, variants
from mast_edge.envs.maps import env_spec
from mast_edge.errors import MastEdgeError
from mast_edge.train.learners.torch import TorchLearner

ENV = env_spec("3m")
FEW = batches(ENV, "ragged", 1, 4, seed=0)[0]


def test_rows_of_a_short_run() -> None:
    said: list[str] = []
    result = benchmark_learner(["3m"], rounds=2, tell=said.append)
    assert result["schema"] == "mast-edge/benchmark/1"
    assert [line.split(":")[0] for line in said] == ["qmix on 3m"] * 2
    dense = {row["name"]: row for row in result["rows"] if row["case"] == "3m"}
    assert {"stepwise", "torch", "torch_gru"} <= set(dense)
    assert ("native_dense" in dense) == (native_learner() is not None) == (not result["host"]["skipped"])
    for row in result["rows"]:
        assert (row["suite"], row["unit"], row["algorithm"]) == ("learner", "ms/update", "qmix")
        assert row["quartiles"][0] <= row["value"] <= row["quartiles"][1]
        assert row["disagreement"] < 1e-5
        assert 0 < row["floor"]["share"] < 1
    assert dense["torch"]["ratios"]["stepwise"] > 1
    assert result["host"]["maps"]["3m"]["longest"] <= 60
    lines = table(result)
    assert lines[0].startswith("qmix on 3m: 32 episodes, ragged, mean length ")
    shown = [line.split()[:2] for line in lines[2 : 2 + len(result["rows"])]]
    assert shown == [[row["name"], row["case"]] for row in result["rows"]]


def test_masked_variants_are_compared_at_their_own_masks() -> None:
    """The torch learner stands in for the native one: the cases, and that masks reach both sides."""
    found = variants(ENV, "qmix", TorchLearner)
    cases = {(v.name, v.case) for v in found}
    assert len(cases) == len(found) == 3 + 1 + 4 + 4 + 1
    assert {("native", "3m@50"), ("native_8x1", "3m@95/8x1"), ("native_uniform", "3m@90")} <= cases
    kept = {v.name: v.learner.topologies["agent"] for v in found if v.sparsity == 90}
    assert kept["native"]["fc1"].sum() == 428  # algorithms.md 7.2
    assert kept["native_uniform"]["fc1"].sum() == 269  # a tenth of 64 * 42
    assert (kept["native_8x1"]["fc1"].reshape(8, 8, -1).sum(1) % 8 == 0).all()
    for variant in found:
        expect_agreement(variant, ENV, "qmix", [FEW.episodes])
        assert variant.disagreement < 1e-5


@pytest.mark.parametrize("algorithm", ["ow_qmix", "res"])
def test_other_algorithms_are_compared_dense_and_at_one_sparsity(algorithm) -> None:
    found = variants(ENV, algorithm, TorchLearner)
    assert [(v.name, v.case) for v in found] == [("torch", "3m"), ("native_dense", "3m"), ("native", "3m@90")]
    for variant in found:
        expect_agreement(variant, ENV, algorithm, [FEW.episodes])


def test_a_learner_that_computes_something_else_is_not_timed() -> None:
    learner = make(TorchLearner, ENV, "qmix")
    learner.algorithm.config = msgspec.structs.replace(learner.config, gamma=0.9899)
    with pytest.raises(MastEdgeError, match=r"mine of 3m must agree .* got 3\.2e-05 in loss"):
        expect_agreement(Variant("mine", "3m", 0, learner), ENV, "qmix", [FEW.episodes])


def test_ratios_goals_and_marks_by_hand() -> None:
    """Round by round native is 6x, 4x, 5.5x faster than stepwise, 1.1x slower than torch; its wall waits."""
    stepwise = Variant("stepwise", "3m", 0, None, cpu=[60.0, 80.0, 55.0], wall=[60.0, 80.0, 55.0])
    torch = Variant("torch", "3m", 0, None, cpu=[9.0, 18.0, 9.0], wall=[9.0, 18.0, 9.0])
    native = Variant("native", "3m@90", 90, None, 1e-7, cpu=[10.0, 20.0, 10.0], wall=[12.0, 20.0, 12.0])
    other = Variant("native", "3m@95", 95, None, cpu=[1.0, 2.0, 3.0], wall=[1.0, 2.0, 3.0])
    found = [stepwise, torch, native, other]
    floors = {"native 3m@90": {"products": 1.5, "activations": 0.5}}
    rows = rows_of(found, "qmix", floors, goals=True)
    row = rows[2]
    assert (row["value"], row["quartiles"], row["wall"], row["contended"]) == (10, [10, 15], 12, True)
    assert row["ratios"] == {"stepwise": 5.5, "torch": 0.9}
    assert row["ties"] == ["torch"]
    assert row["floor"] == {"products": 1.5, "activations": 0.5, "share": 0.2}
    assert row["goals"] == [
        {"peer": "stepwise", "at_least": 5, "reached": True},
        {"peer": "torch", "at_least": 3, "reached": False},
    ]
    assert not rows[0]["contended"]
    assert rows[1]["goals"] == [{"peer": "stepwise", "at_least": 1.2, "reached": True}]
    assert all(not row["goals"] for row in rows_of(found, "qmix", {}, goals=False))


def test_blocks_in_a_tie_are_not_slower() -> None:
    element = Variant("native", "3m@90", 90, None, cpu=[10.0, 10.0], wall=[10.0, 10.0])
    for ms, reached in ((11.0, True), (12.0, False)):
        blocks = Variant("native_8x1", "3m@90/8x1", 90, None, cpu=[ms, ms], wall=[ms, ms])
        _, row = rows_of([element, blocks], "qmix", {}, goals=True)
        assert row["goals"] == [{"peer": "native", "at_least": round(NOT_SLOWER, 3), "reached": reached}]


def test_lengths() -> None:
    ragged = batches(ENV, "ragged", 3, 32, seed=1)
    drawn = [[e.length for e in batch.episodes] for batch in ragged]
    assert 20 < sum(map(sum, drawn)) / 96 < 30
    assert 1 <= min(map(min, drawn)) < 20 < 35 < max(map(max, drawn)) <= 60
    assert len(set(map(tuple, drawn))) == 3
    assert (ragged[0].transitions, ragged[0].rows) == (sum(drawn[0]), sum(drawn[0]) + 32)
    full = batches(env_spec("3s5z"), "full", 1, 2, seed=1)[0]
    assert [e.length for e in full.episodes] == [100, 100]
    battles = batches(ENV, "battles", 1, 3, seed=1)[0]
    assert len(battles.episodes) == 3
    assert any(e.terminated for e in battles.episodes)
    for e in ragged[0].episodes + battles.episodes:
        assert e.obs.shape == (e.length + 1, 3, 30)
        assert (e.avail[:-1].reshape(-1, 9)[range(3 * e.length), e.actions.ravel()] == 1).all()


def test_the_floor_by_hand() -> None:
    """10 transitions in 1 episode of 3m; the agent on 33 rows, the mixer (E 32, E_h 64, S 48) on 10."""
    batch = Batch([batches(ENV, "ragged", 1, 1, seed=0)[0].episodes[0]])
    cut = replace(batch.episodes[0], reward=batch.episodes[0].reward[:10])
    made, rates = make(TorchLearner, ENV, "qmix").algorithm, Rates(1.0, 1.0)
    floor = floor_ms(made, {}, ENV, [Batch([cut])], rates)
    agent = 3 * 64 * 42 + 4 * (2 * 192 * 64 + 9 * 64)
    mixer = 3 * 48 * (64 + 64 + 32 + 32) + 4 * (64 * 96 + 64 * 32 + 32)
    assert floor["products"] == 33 * agent + 10 * mixer
    assert floor["activations"] == 33 * (42 + 64 + 5 * 64 + 9) + 10 * (48 + 192 + 96 + 32 + 1)
    masks = {"agent": uniform_topology({"fc2": (9, 64)}, 0.75, np.random.default_rng(0))}
    sparse = floor_ms(made, masks, ENV, [Batch([cut])], Rates(2.0, 1.0))
    assert sparse["products"] == (33 * (agent - 4 * 9 * 48) + 10 * mixer) / 2
