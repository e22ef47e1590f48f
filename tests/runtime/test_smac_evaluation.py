"""Judging agents in games without seeds, some of which break."""

import sys
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from mast_edge.errors import UsageError
from mast_edge.experiments.plots import plot_win_rates
from mast_edge.runs import list_runs
from mast_edge.runtime.contest import contest
from mast_edge.runtime.decision import advise, decide
from mast_edge.runtime.designs import fixed_sample
from mast_edge.runtime.evaluate import evaluate
from mast_edge.runtime.match import play_rounds
from mast_edge.runtime.parity import Pairs
from mast_edge.runtime.unpaired import Arms
from mast_edge.runtime.verdict_table import verdict_table
from tests.envs.fake_games import FakeGames
from tests.runtime.agents import export_csr, make_run
from tests.runtime.toy_battle import CueTeam, ToyBattle


class BreakingBattle(ToyBattle):
    """The battle of seed 2 breaks at once, whoever plays; that of seed 7 only for a team that follows."""

    def step(self, actions, which=None):
        step = super().step(actions, which)
        follows = (actions == self.cues[:, np.minimum(self.t - 1, 4)[0]]).all(axis=1)
        broken = which & (self.t == 1) & np.isin(np.array(self.seeds) % 10, (2,))
        broken |= which & (self.t == 1) & (np.array(self.seeds) % 10 == 7) & follows
        step.lost[:] = broken
        step.terminated[:] |= broken
        return step


def test_a_lost_pair_is_dropped_on_both_sides_and_replaced() -> None:
    result = contest(BreakingBattle, CueTeam(), CueTeam(), fixed_sample(30), 0.03, batch=10)
    assert result.pairs == Pairs(30, 0, 0)
    # 2**32 ends in 6: of 38 seeds tried, both sides lost those ending in 2 and in 7.
    assert result.lost > 0
    assert result.lost % 2 == 0
    # A battle lost by both: a defeat of the candidate and a win of the reference in the worst case.
    assert result.worst == Pairs(30 + result.lost // 2, result.lost // 2, 0)
    assert (result.wins, result.reference_wins, result.identical) == (30, 30, 30)


def test_a_pass_must_survive_the_worst_case() -> None:
    calm = contest(ToyBattle, CueTeam(), CueTeam(), fixed_sample(200), 0.03)
    assert (calm.lost, calm.worst) == (0, None)
    assert decide("compression", calm, 0.03, fixed_sample(200), None)[0] == "pass"
    stormy = contest(BreakingBattle, CueTeam(), CueTeam(), fixed_sample(200), 0.03)
    assert stormy.pairs == Pairs(200, 0, 0)
    decision, reason = decide("compression", stormy, 0.03, fixed_sample(200), None)
    assert decision == "inconclusive"
    assert "lost to crashes" in reason
    advice = advise("compression", stormy.pairs, stormy.worst, 0.03, fixed_sample(200))
    assert advice.episodes is None
    assert "why the game breaks" in advice.text


def test_unpaired_play_is_judged_by_its_win_rates() -> None:
    rng = np.random.default_rng(1)
    result = contest(ToyBattle, CueTeam(slip=5), CueTeam(), fixed_sample(60), 0.03, batch=4, order=rng)
    assert isinstance(result.pairs, Arms)
    assert result.pairs.wins == result.wins
    assert result.pairs.reference_wins == result.reference_wins == 60
    assert result.looks[0].z == result.pairs.z(0.03)
    assert result.worst is None


def test_the_worst_case_of_unpaired_play() -> None:
    rng = np.random.default_rng(1)
    result = contest(BreakingBattle, CueTeam(), CueTeam(), fixed_sample(30), 0.03, batch=10, order=rng)
    each = result.lost // 2
    assert result.worst == Arms(30 + each, lost=each, gained=0, wins=30)
    assert result.worst.reference_wins == 30 + each


def test_the_sides_take_turns_at_random() -> None:
    played = []

    def make(n, seed):
        played.append(seed)
        return ToyBattle(n, seed)

    class Named(CueTeam):
        def __init__(self, name):
            super().__init__()
            self.name = name

        def start(self, n_envs):
            super().start(n_envs)
            order.append(self.name)

    order: list[str] = []
    rng = np.random.default_rng(1)
    contest(make, Named("c"), Named("r"), fixed_sample(40), 0.03, batch=1, order=rng)
    firsts = order[::2]
    assert 10 < firsts.count("c") < 30
    assert all({a, b} == {"c", "r"} for a, b in zip(order[::2], order[1::2], strict=True))
    assert played[::2] == played[1::2]


def test_few_games_play_many_rounds() -> None:
    out = play_rounds(lambda n, seed: ToyBattle(3, seed), CueTeam(), 8, 0)
    assert [len(x) for x in (out.won, out.timed_out, out.length, out.returns, out.lost)] == [8] * 5
    assert out.actions.shape == (5, 8, 2)


@pytest.fixture
def fake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeGames:
    games = FakeGames(tmp_path / "games")
    games.environ["MAST_EDGE_SMAC_PYTHON"] = sys.executable
    for name, value in games.environ.items():
        monkeypatch.setenv(name, value)
    return games


def test_an_agent_of_the_simulator_is_judged_in_the_game(
    tmp_path: Path, fake: FakeGames, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = make_run(tmp_path / "runs")
    export_csr(run)
    fake.inject("step-raise")
    verdict = evaluate(root=tmp_path / "runs", env="smac", episodes=12)
    assert fake.processes() == []
    assert (verdict.env, verdict.paired, verdict.pairs.n) == ("smac", False, 12)
    assert verdict.facts["game"]["base_build"] == 75689
    assert verdict.facts["seeds"] is None
    assert verdict.certificate is not None
    assert verdict.certificate.agreement == 1.0
    console = Console(width=120)
    with console.capture() as capture:
        console.print(verdict_table(verdict))
    assert "StarCraft II 4.10, SMAC 0.1.0b1" in capture.get()
    assert "the game has no seeds" in capture.get()
    assert "Miettinen-Nurminen" in capture.get()
    report = verdict.to_json()
    assert report["interval_method"] == "Miettinen-Nurminen"
    assert report["newcombe_ci90"][0] < report["difference"] < report["newcombe_ci90"][1]
    assert "Newcombe" in verdict.saved.with_suffix(".md").read_text()
    assert "other versions of StarCraft II than 4.10" in capture.get()
    monkeypatch.setenv("FAKE_SMAC_DATA", "mast-edge 0.1.0")
    stand_in = evaluate(root=tmp_path / "runs", env="smac", episodes=3)
    assert any("stand-in" in said for said in stand_in.not_tested)
    at_home = evaluate(root=tmp_path / "runs", episodes=12)
    assert (at_home.env, at_home.paired, at_home.facts["game"]) == ("skirmish", True, None)
    assert at_home.saved != verdict.saved


def test_pictures_do_not_mix_kinds_of_environment(tmp_path: Path) -> None:
    make_run(tmp_path)
    ((run,), _) = list_runs(tmp_path)
    run.manifest.env["backend"] = "smac"
    ((other,), _) = list_runs(tmp_path)
    with pytest.raises(UsageError, match="one kind of environment; got skirmish, smac"):
        plot_win_rates([("a", run), ("b", other)], tmp_path / "x.png")
