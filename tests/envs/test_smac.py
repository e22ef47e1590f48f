"""The adapter to real SMAC: the real worker script over a package that breaks in every way the game does."""

import ast
import os
import random
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest

from mast_edge.config_fields import SmacGames
from mast_edge.envs.smac import Smac
from mast_edge.envs.smac_process import SCRIPT, WorkerFault, WorkerProcess
from mast_edge.envs.smac_supervisor import launch_seed
from mast_edge.errors import ConfigError, EnvironmentUnavailable
from tests.envs.fake_games import FakeGames

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="orphans are looked for in /proc")

QUICK = SmacGames(launch_timeout=20.0, step_timeout=20.0, backoff=0.001, restart_limit=1000)
EAGER = SmacGames(launch_timeout=5.0, step_timeout=1.5, backoff=0.0, restart_limit=1000)
SHOOT, NORTH = 6, 2
HARMLESS = ("print", "slow")


@pytest.fixture
def fake(tmp_path: Path):
    games = FakeGames(tmp_path)
    yield games
    assert games.processes() == []


@pytest.fixture
def opened(fake: FakeGames):
    """Opens environments that are closed at the end."""
    envs = []

    def make(n_envs=1, games=QUICK, **options):
        envs.append(Smac("3m", n_envs, seed=5, games=games, environ=fake.environ, **options))
        return envs[-1]

    yield make
    for env in envs:
        env.close()


def play(env, action=SHOOT, rng=None):
    """One episode everywhere; (steps that lost something, last Step per environment)."""
    env.reset()
    running, lost, last = np.ones(env.n_envs, bool), np.zeros(env.n_envs, bool), [None] * env.n_envs
    while running.any():
        actions = np.full((env.n_envs, 3), action)
        if rng is not None:
            actions = np.where(rng.random(actions.shape) < 0.5, action, 1)
        actions = np.where(np.take_along_axis(env.avail, actions[..., None], 2)[..., 0] == 1, actions, 0)
        step = env.step(actions, running)
        assert not (step.lost & ~step.terminated).any()
        assert np.isfinite(env.obs).all()
        assert (env.avail.sum(2) > 0).all()
        for b in np.flatnonzero(running & step.terminated):
            last[b] = step
        lost |= running & step.lost
        running &= ~step.terminated
    return lost, last


def test_a_battle_shows_what_smac_shows(opened) -> None:
    env = opened(2)
    assert (env.spec.backend, env.spec.obs_dim, env.spec.state_dim, env.spec.n_actions) == ("smac", 30, 48, 9)
    assert (env.facts["game_version"], env.facts["base_build"]) == ("4.10", 75689)
    assert env.facts["smac"] == "0.1.0b1"
    env.reset()
    assert (env.obs.dtype, env.state.dtype, env.avail.dtype) == (np.float32, np.float32, np.uint8)
    assert env.obs[:, 1, 0].tolist() == [1.0, 1.0]
    step = env.step(np.full((2, 3), SHOOT), np.array([True, False]))
    assert step.reward.tolist() == [pytest.approx(15 / (365 / 20)), 0.0]
    assert env.obs[0, 1, 0] == np.float32(1 + 1 / 60)
    assert env.obs[1, 1, 0] == 1.0
    lost, last = play(env)
    assert not lost.any()
    assert [s.battle_won[b] for b, s in enumerate(last)] == [True, True]
    assert last[0].dead_enemies[0] == 3
    _, last = play(env, NORTH)
    assert [s.timed_out[b] for b, s in enumerate(last)] == [True, True]
    stats = env.stats()
    assert stats["battles_game"].tolist() == [2, 2]
    assert all(stats[name].tolist() == [1, 1] for name in ("battles_won", "timeouts", "battles_draw"))
    assert stats["win_rate"].tolist() == [0.5, 0.5]
    assert stats["restarts"].tolist() == stats["lost"].tolist() == [0, 0]


def test_max_reward_is_that_of_the_first_reset(opened) -> None:
    env = opened()
    for _ in range(4):
        env.reset()
        env.step(np.full((1, 3), SHOOT))  # no episode has ended: SMAC adds 135 at each of these resets
    env.reset()
    assert env.step(np.full((1, 3), NORTH)).reward[0] == pytest.approx(15 / (365 / 20))


def test_the_timestep_is_one_longer_than_declared(opened) -> None:
    env = opened(obs_timestep_number=True)
    assert (env.spec.obs_dim, env.obs.shape) == (32, (1, 3, 32))


def test_only_changed_options_are_passed_on(opened) -> None:
    assert opened(reward_scale_rate=40.0, obs_own_health=True).facts["max_reward"] == 365
    with pytest.raises(EnvironmentUnavailable, match=r"env\.options must be known .*'move_amount'"):
        opened(move_amount=3.0)
    with pytest.raises(ConfigError, match="spawn_jitter"):
        opened(spawn_jitter=False)


def test_illegal_calls_change_nothing(opened) -> None:
    env = opened(2)
    env.reset()
    before = env.obs.copy()
    with pytest.raises(ValueError, match=r"ment 1, agent 2 must be one of \[1, 2, 3, 4, 5, 6\]; got 7"):
        env.step(np.array([[1, 1, 1], [1, 1, 7]]))
    with pytest.raises(ValueError, match="whole numbers"):
        env.step(np.ones((2, 3)))
    assert np.array_equal(env.obs, before)
    env.step(np.ones((2, 3), int))
    play(env)
    with pytest.raises(ValueError, match="one that is over"):
        env.step(np.ones((2, 3), int))


def test_the_game_cannot_be_saved(opened) -> None:
    env = opened()
    assert not env.seeded
    with pytest.raises(EnvironmentUnavailable, match="snapshot must be of the embedded simulator"):
        env.snapshot()
    with pytest.raises(EnvironmentUnavailable):
        env.restore(np.zeros((1, 1), np.uint8))


def test_the_worker_needs_an_old_python_and_the_standard_library_only() -> None:
    tree = ast.parse(SCRIPT.read_text(), feature_version=(3, 7))
    nodes = list(ast.walk(tree))
    names = {alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names}
    names |= {node.module or "" for node in nodes if isinstance(node, ast.ImportFrom)}
    assert {name.split(".")[0] for name in names} - sys.stdlib_module_names == {"smac", "numpy"}


def test_a_game_started_again_has_another_seed() -> None:
    seeds = [launch_seed(2**32 + 7, k) for k in range(4)]
    assert seeds[0] == 7
    assert len(set(seeds)) == 4
    assert all(0 <= seed < 2**31 for seed in seeds)


@pytest.mark.parametrize("fault", ["step-exit", "step-raise", "step-nan", "step-connection"])
def test_a_lost_episode_is_marked_and_the_next_one_is_whole(fake, opened, fault) -> None:
    env = opened(2)
    fake.inject(fault)
    lost, last = play(env)
    assert lost.sum() == 1
    b = int(np.flatnonzero(lost)[0])
    assert (last[b].reward[b], last[b].battle_won[b], last[b].timed_out[b]) == (0.0, False, False)
    assert not env.obs[b].any()
    assert env.avail[b, :, 0].all()
    assert env.stats()["lost"].tolist() == env.stats()["restarts"].tolist() == lost.astype(int).tolist()
    lost, last = play(env)
    assert not lost.any()
    assert env.stats()["battles_game"].sum() == 3


def test_what_is_missing_is_named_before_anything_is_launched(fake, tmp_path: Path) -> None:
    def refusal(map_name="3m", games=QUICK, **change: str) -> str:
        with pytest.raises(EnvironmentUnavailable) as caught:
            Smac(map_name, games=games, environ={**fake.environ, **change})
        assert caught.value.exit_code == 8
        assert "\n" not in str(caught.value)
        return str(caught.value)

    other = tmp_path / "other" / "smac"
    other.mkdir(parents=True)
    (other / "__init__.py").write_text("__version__ = '2.3.1'\n")
    install = f"{sys.executable} -m pip install git+https://github.com/oxwhirl/smac.git"
    assert "SC2PATH must be a StarCraft II folder; got /nowhere" in refusal(SC2PATH="/nowhere")
    assert f"{fake.game}/Maps/SMAC_Maps/8m.SC2Map; got none (maps there: 3m)" in refusal("8m")
    named = SmacGames(python="no-such-python")
    assert "interpreter must be a program; got 'no-such-python'" in refusal(games=named)
    assert "got 'nor-this'" in refusal(MAST_EDGE_SMAC_PYTHON="nor-this")
    assert install in refusal(PYTHONPATH="")
    wrong = refusal(PYTHONPATH=str(other.parent))
    assert "got SMAC3" in wrong
    assert install in wrong
    (other / "env").mkdir()
    (other / "env" / "__init__.py").write_text("raise TypeError('Descriptors cannot be created directly.')")
    assert "protobuf<3.21" in refusal(PYTHONPATH=str(other.parent))
    (other / "env" / "__init__.py").write_text("import pysc2_that_is_not_there")
    assert "No module named 'pysc2_that_is_not_there'" in refusal(PYTHONPATH=str(other.parent))
    with pytest.raises(ConfigError, match="Did you mean '3m'"):
        Smac("3n", environ=fake.environ)
    with pytest.raises(ConfigError, match="Did you mean 'step_mul'"):
        Smac("3m", environ=fake.environ, step_mull=8)


def inject_and_survive(fake: FakeGames, env: Smac, faults: list[str], seconds: float) -> None:
    """Plays until every fault has happened, then one whole round; checks the counts."""
    fake.inject(*faults)
    rng = np.random.default_rng(0)
    deadline = time.monotonic() + seconds
    marked = 0
    while fake.waiting():
        assert time.monotonic() < deadline, f"stuck: {fake.waiting()}"
        marked += int(play(env, rng=rng)[0].sum())
    marked += int(play(env)[0].sum())
    harmful = [fault for fault in faults if fault.split("-")[1] not in HARMLESS]
    in_episode = [fault for fault in harmful if fault.startswith("step")]
    stats = env.stats()
    assert marked == stats["lost"].sum() == len(in_episode)
    assert stats["restarts"].sum() == len(harmful)
    lost, last = play(env)
    assert not lost.any()
    assert all(step.battle_won[b] for b, step in enumerate(last))
    assert 2 * env.n_envs < len(fake.processes()) <= 3 * env.n_envs  # watcher, player, game


FAULTS = [
    *("step-exit", "step-sigkill", "step-hold", "step-noise", "step-partial", "step-length", "step-slow"),
    *("reset-sigkill", "reset-raise", "init-exit", "import-exit", "step-print"),
]


def test_twelve_faults(fake, opened) -> None:
    env = opened(3, EAGER)
    fake.environ["FAKE_SMAC_CHANCE"] = "0.3"
    inject_and_survive(fake, env, FAULTS, 60.0)
    env.close()
    assert fake.processes() == []


QUICKLY_FOUND = [
    *("step-exit", "step-sigkill", "step-segfault", "step-raise", "step-noise", "step-huge", "step-nan"),
    *("step-inf", "step-length", "step-mask", "step-reward", "step-connection", "step-slow", "step-print"),
    *("reset-exit", "reset-sigkill", "reset-raise", "reset-nan", "reset-length", "reset-noise"),
    *("init-exit", "init-raise", "import-exit", "import-sigkill"),
]
TIMED_OUT = ["step-hang", "step-hold", "step-partial", "step-hang", "step-hold", "import-hang", "init-hold"]


@pytest.mark.slow
@pytest.mark.parametrize("seed", [1, 2])
def test_a_hundred_faults(fake, opened, seed) -> None:
    faults = [*TIMED_OUT, *random.Random(seed).choices(QUICKLY_FOUND, k=100 - len(TIMED_OUT))]
    random.Random(seed).shuffle(faults)
    started = time.monotonic()
    fake.environ["FAKE_SMAC_CHANCE"] = "0.3"
    env = opened(4, EAGER)
    inject_and_survive(fake, env, faults, 60.0)
    env.close()
    assert fake.processes() == []
    print(f"100 faults in {time.monotonic() - started:.1f} s: {env.stats()}")


def test_a_slow_launch_and_slow_steps_are_waited_for(fake, opened) -> None:
    fake.inject("import-slow", "init-slow", "reset-slow", *["step-slow"] * 3)
    env = opened(1, EAGER)
    play(env)
    assert fake.waiting() == []
    assert env.stats()["restarts"].tolist() == [0]


def play_often(env) -> None:
    for _ in range(20):
        play(env)


def test_too_many_restarts_end_it(fake, opened) -> None:
    env = opened(2, SmacGames(backoff=0.001, restart_limit=3))
    fake.inject(*["step-exit"] * 20)
    with pytest.raises(EnvironmentUnavailable, match=r"at most 3 an hour .* crashed") as caught:
        play_often(env)
    assert caught.value.exit_code == 8
    env.close()
    assert fake.processes() == []


def test_a_game_that_never_starts_is_tried_three_times(fake, opened) -> None:
    fake.inject(*["reset-raise"] * 9)
    with pytest.raises(EnvironmentUnavailable, match="within 3 tries; got: RuntimeError: Failed to connect"):
        opened()
    assert len(fake.waiting()) == 6


def test_pauses_grow_until_an_episode_ends(fake, opened) -> None:
    class Recorded(threading.Event):
        waits: ClassVar[list[float]] = []

        def wait(self, timeout=None):
            self.waits.append(timeout)
            return super().wait(0)

    env = opened(1, SmacGames(backoff=1.0, restart_limit=50))
    env._games[0].stop = Recorded()
    fake.inject("step-exit", "init-exit", "reset-raise", "import-exit")
    play(env)
    play(env)
    fake.inject("step-exit")
    play(env)
    play(env)
    assert Recorded.waits == [1.0, 2.0, 4.0, 8.0, 1.0]


def test_closing_does_not_wait_for_a_game_that_hangs(fake, opened) -> None:
    env = opened(2, SmacGames(launch_timeout=60.0))
    fake.inject("reset-hang", "reset-hang")
    ended = []

    def play_until_closed() -> None:
        with pytest.raises(EnvironmentUnavailable, match="got a closed one"):
            play_often(env)
        ended.append(True)

    waiting = threading.Thread(target=play_until_closed)
    waiting.start()
    while fake.waiting():
        time.sleep(0.02)
    started = time.monotonic()
    env.close()
    waiting.join(10)
    assert ended
    assert time.monotonic() - started < 10
    assert fake.processes() == []


KILLED = """
import sys
import numpy as np
from mast_edge.config_fields import SmacGames
from mast_edge.envs.smac import Smac
env = Smac("3m", 2, games=SmacGames(step_timeout=500.0))
env.reset()
print("playing", flush=True)
env.step(np.ones((2, 3), int))
"""


@pytest.mark.parametrize("fault", ["step-hang", "step-hold"])
def test_no_worker_outlives_its_parent(fake, fault) -> None:
    fake.inject(fault, fault)
    environ = {**fake.environ, "PYTHONPATH": os.pathsep.join([fake.environ["PYTHONPATH"], os.getcwd()])}
    parent = subprocess.Popen([sys.executable, "-c", KILLED], env=environ, stdout=subprocess.PIPE)
    assert parent.stdout is not None
    assert parent.stdout.readline() == b"playing\n"
    while fake.waiting():
        time.sleep(0.02)
    assert len(fake.processes()) == 7  # two of watcher, player, game; and the parent
    parent.send_signal(signal.SIGKILL)
    parent.wait()
    parent.stdout.close()
    deadline = time.monotonic() + 10
    while fake.processes() and time.monotonic() < deadline:
        time.sleep(0.05)
    assert fake.processes() == []


def test_a_worker_whose_watcher_is_killed_is_found_by_its_mark(fake) -> None:
    worker = WorkerProcess(sys.executable, fake.environ)
    worker.send({"do": "hello", "version": 1, "map": "3m", "seed": 1, "options": {}})
    worker.receive(time.monotonic() + 20)
    worker.send({"do": "reset"})
    worker.receive(time.monotonic() + 20)
    assert len(fake.processes()) == 3
    os.kill(worker.pid, signal.SIGKILL)
    worker.end()
    assert fake.processes() == []
    with pytest.raises(WorkerFault):
        worker.send({"do": "reset"})


def test_another_version_of_the_worker_is_refused(fake) -> None:
    worker = WorkerProcess(sys.executable, fake.environ)
    worker.send({"do": "hello", "version": 99, "map": "3m", "seed": 1, "options": {}})
    with pytest.raises(Exception, match="speaks version 1"):
        worker.receive(time.monotonic() + 20)
    worker.end()
