"""The memory a config may need, by hand and measured, and what is refused."""

import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mast_edge.config import resolve
from mast_edge.envs.maps import env_spec
from mast_edge.errors import ConfigError
from mast_edge.spec import EnvSpec
from mast_edge.train import memory
from mast_edge.train.replay import Episode

TOY = EnvSpec("toy", "test", n_agents=2, n_actions=3, obs_dim=4, state_dim=5, episode_limit=9)
# A row is 2 * 4 * 4 + 5 * 4 + 2 * 3 = 58 bytes, a transition 2 + 4 = 6.


def config(map_name: str = "3m", **sections: Any) -> Any:
    return resolve({"env": {"map": map_name}, **sections})


def toy(limit: int | None = None, **replay: int) -> memory.Memory:
    replay = {"capacity": 100, "batch_size": 4, "online_capacity": 4, **replay}
    made = memory.estimate(
        config(replay=replay, method="dense", evaluation={"episodes": 3}, network=dict.fromkeys(WIDTHS, 8)),
        TOY,
        parameters=1000,
    )
    return replace(made, limit=limit)


WIDTHS = ("hidden_dim", "mixer_embed_dim", "hypernet_dim", "central_dim")


def test_bytes_of_a_stored_step() -> None:
    # obs 3 * 30 * 4 + state 48 * 4 + avail 3 * 9, then actions 3 and reward 4.
    assert memory.replay_bytes_per_step(env_spec("3m")) == 360 + 192 + 27 + 3 + 4


def test_bytes_are_those_of_the_replay() -> None:
    length = 7
    episode = Episode(
        obs=np.zeros((length + 1, 2, 4), np.float32),
        state=np.zeros((length + 1, 5), np.float32),
        avail=np.zeros((length + 1, 2, 3), np.uint8),
        actions=np.zeros((length, 2), np.uint8),
        reward=np.zeros(length, np.float32),
        terminated=True,
        timed_out=False,
    )
    assert memory.replay_bytes(TOY, 1, length) == 8 * 58 + 7 * 6 == episode.nbytes


@pytest.mark.parametrize(
    ("map_name", "mean", "ragged", "padded"),
    [("3m", 24, 73, 179), ("2s3z", 50, 547, 1298), ("3s5z", 55, 1424, 3839), ("2c_vs_64zg", 70, 1481, 8363)],
)
def test_the_table_of_training_speed_5(map_name: str, mean: int, ragged: int, padded: int) -> None:
    """MB for 5,000 episodes. The table stores `terminated` too, one byte per step; here it is per episode.

    Its lengths are assumed; these reproduce it.
    """
    spec = env_spec(map_name)
    for length, megabytes in ((mean, ragged), (spec.episode_limit, padded)):
        steps = 5000 * length
        assert round((memory.replay_bytes(spec, 5000, steps) + steps) / 1e6) == megabytes


def test_the_parts_by_hand() -> None:
    needed = toy()
    assert needed.replay == 100 * (10 * 58 + 9 * 6)
    # F = 9, H = E = E_h = 8: 4 N F + 4 S + N A = 72 + 20 + 6; N (16 H + 5 A) = 286; 4 N E = 64; 5 * 32 = 160.
    assert needed.batch == 4 * 10 * (98 + 4 * (286 + 64 + 160))
    # Three battles of evaluation as steps and as episodes, and three of the evaluation before.
    assert needed.playing == 9 * (10 * 58 + 9 * 6)
    assert needed.networks == 5 * 4 * 1000
    assert needed.total == needed.replay + needed.batch + needed.playing + needed.networks


@pytest.mark.parametrize(
    ("max_steps", "episodes", "steps"),
    [
        (300, 100, 300),  # a hundred episodes of three steps each hold more rows than 33 of nine
        (60, 60, 60),  # sixty episodes of one step
        (10, 36, 36),  # the batch size stays: four episodes of nine steps
        (5000, 100, 900),  # more than a full replay has
    ],
)
def test_steps_bound_the_replay(max_steps: int, episodes: int, steps: int) -> None:
    assert toy(max_steps=max_steps).replay == (steps + episodes) * 58 + steps * 6


@given(st.integers(0, 120_000))
def test_the_suggested_bound_is_the_largest_that_fits(room: int) -> None:
    unbounded = toy()
    limit = unbounded.total - unbounded.replay + room
    steps = memory.fitting_steps(replace(unbounded, limit=limit))
    if steps == 0:
        assert toy(max_steps=36).total > limit
    else:
        assert toy(max_steps=steps).total <= limit
        if steps < 900:
            assert toy(max_steps=steps + 1).total > limit


def test_what_fits_is_let_through() -> None:
    memory.check(toy(limit=toy().total))
    memory.check(toy(limit=None))


def test_the_refusal_names_a_setting_that_fits() -> None:
    needed = toy()
    limit = needed.total - 634 * 40
    steps = 60 * 634 - 100 * 58  # room for sixty episodes, less the hundred rows that short ones might add
    with pytest.raises(ConfigError) as refused:
        memory.check(replace(needed, limit=limit, origin="a.yaml:7"))
    assert str(refused.value) == (
        "a.yaml:7: replay.capacity must fit in memory; got 100 episodes of up to 9 steps, 63.4 kB of replay, "
        "85.5 kB per update, 5.71 kB of battles, 20 kB of networks, with 149 kB available. "
        f"Set replay.max_steps={steps // 64}, or replay.capacity=60."
    )
    assert refused.value.exit_code == 4
    memory.check(replace(toy(max_steps=steps // 64), limit=limit))
    memory.check(replace(toy(capacity=60), limit=limit))


def test_the_refusal_names_what_is_too_large_besides_the_replay() -> None:
    with pytest.raises(ConfigError, match=r"Lower replay\.batch_size\."):
        memory.check(toy(limit=50_000))
    with pytest.raises(ConfigError, match=r"Lower evaluation\.episodes and rollout\.n_envs\."):
        memory.check(replace(toy(limit=50_000), playing=10**9))


def test_a_replay_larger_than_any_machine_is_refused() -> None:
    huge = config("27m_vs_30m", replay={"capacity": 1_000_000})
    needed = memory.estimate(huge, env_spec("27m_vs_30m"), 10**6)
    # obs 27 * 285 * 4 + state 1170 * 4 + avail 27 * 36 = 36,432; 181 rows and 180 * 31 more per episode.
    assert needed.replay == 10**6 * (181 * 36_432 + 180 * 31)
    with pytest.raises(ConfigError, match=r"got 1000000 episodes of up to 180 steps, 6\.6 TB of replay"):
        memory.check(needed)


LIMITED = """
import resource, sys
from mast_edge.config import resolve
from mast_edge.envs.maps import env_spec
from mast_edge.train import memory

config, spec = resolve({"env": {"map": "3m"}}), env_spec("3m")
held = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
limit = held + int(sys.argv[1])
resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
needed = memory.estimate(config, spec, 50_000)
memory.check(needed)
print(memory.describe(needed))
"""


def limited(room: int) -> "subprocess.CompletedProcess[str]":
    return subprocess.run([sys.executable, "-c", LIMITED, str(room)], capture_output=True, text=True)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="needs /proc and RLIMIT_AS")
def test_an_address_space_limit_is_seen() -> None:
    enough, little = limited(500 * 10**6), limited(150 * 10**6)
    assert enough.returncode == 0, enough.stderr
    assert "replay up to 179 MB (5000 episodes of 60 steps)" in enough.stdout
    assert "available 50" in enough.stdout or "available 49" in enough.stdout
    assert little.returncode == 1
    assert "ConfigError: train: replay.capacity must fit in memory; got 5000 episodes" in little.stderr
    assert "Set replay.max_steps=" in little.stderr


def test_one_line_for_people() -> None:
    sizes = {"replay": 1_424_000_000, "batch": 244_400_000, "playing": 999_700, "networks": 4_400}
    needed = replace(toy(limit=21_300_000_000), **sizes)
    assert memory.describe(needed) == (
        "memory: replay up to 1.42 GB (100 episodes of 9 steps), update 244 MB, battles 1 MB, "
        "networks 4.4 kB; available 21.3 GB"
    )
    assert "(300 steps)" in memory.describe(toy(max_steps=300))
    assert memory.describe(toy()).endswith("available: unknown")


@pytest.mark.parametrize(
    ("size", "text"),
    [
        (0, "0 B"),
        (999, "999 B"),
        (1000, "1 kB"),
        (999_499, "999 kB"),
        (999_500, "1 MB"),
        (2 * 10**15, "2000 TB"),
    ],
)
def test_units(size: int, text: str) -> None:
    assert memory.human(size) == text


def tree(root: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return root


MACHINE = {"proc/meminfo": "MemTotal:  900 kB\nMemAvailable:  700 kB\n"}


class TestAvailable:
    """The least of what machine and control groups leave."""

    def test_the_machine(self, tmp_path: Path) -> None:
        assert memory.available(tree(tmp_path, MACHINE)) == 700 * 1024

    def test_nothing_known(self, tmp_path: Path) -> None:
        assert memory.available(tmp_path) is None

    def test_a_group_above_the_process(self, tmp_path: Path) -> None:
        files = {
            "proc/self/cgroup": "0::/box/job\n",
            "sys/fs/cgroup/box/memory.max": "500000\n",
            "sys/fs/cgroup/box/memory.current": "300000\n",
            "sys/fs/cgroup/box/memory.stat": "anon 100000\ninactive_file 50000\nactive_file 70000\n",
            "sys/fs/cgroup/box/job/memory.max": "max\n",
            "sys/fs/cgroup/box/job/memory.current": "200000\n",
        }
        # File caches give way: 500,000 - (300,000 - 120,000).
        assert memory.available(tree(tmp_path, MACHINE | files)) == 320_000

    def test_version_one_inside_a_container(self, tmp_path: Path) -> None:
        files = {
            # The path is the host's; inside, the group is what is mounted.
            "proc/self/cgroup": "5:cpu:/\n4:memory:/docker/0123\n0::/\n",
            "sys/fs/cgroup/memory/memory.limit_in_bytes": "400000\n",
            "sys/fs/cgroup/memory/memory.usage_in_bytes": "150000\n",
            "sys/fs/cgroup/memory/memory.stat": "inactive_file 1\ntotal_inactive_file 50000\n",
        }
        assert memory.available(tree(tmp_path, MACHINE | files)) == 300_000

    def test_a_group_that_is_full(self, tmp_path: Path) -> None:
        files = {
            "proc/self/cgroup": "0::/\n",
            "sys/fs/cgroup/memory.max": "1000\n",
            "sys/fs/cgroup/memory.current": "2000\n",
        }
        assert memory.available(tree(tmp_path, MACHINE | files)) == 0


PEAK = """
import sys
import numpy as np, torch
from mast_edge.config import resolve
from mast_edge.train import memory
from mast_edge.train.replay import Episode
from mast_edge.train.trainer import Trainer

def status(name):
    return next(1024 * int(line.split()[1]) for line in open("/proc/self/status") if line.startswith(name))

def episode(length, spec, rng):
    return Episode(
        obs=rng.random((length + 1, spec.n_agents, spec.obs_dim), np.float32),
        state=rng.random((length + 1, spec.state_dim), np.float32),
        avail=np.ones((length + 1, spec.n_agents, spec.n_actions), np.uint8),
        actions=np.zeros((length, spec.n_agents), np.uint8),
        reward=np.zeros(length, np.float32), terminated=True, timed_out=False)

torch.set_num_threads(1)
learner, sparsity = sys.argv[3], float(sys.argv[4])
masks = {"method": "mast", "sparsity": sparsity} if sparsity else {"method": "dense"}
config = resolve({"env": {"map": sys.argv[1]}, "algorithm": sys.argv[2], "target": {"start": 0}, **masks})
trainer = Trainer(config, torch.device("cpu"), learner=learner)
spec, rng = trainer.env.spec, np.random.default_rng(0)

def update(episodes):
    trainer.learner.update(episodes, 1)

update([episode(2, spec, rng)] * 32)
longest = [episode(spec.episode_limit, spec, rng) for _ in range(32)]
before = status("VmRSS")
open("/proc/self/clear_refs", "w").write("5")  # the peak counts from now on
update(longest)
update(longest)
print(status("VmHWM") - before, memory.estimate(config, spec, 1).batch)
"""


def peak_and_estimate(*arguments: str) -> tuple[int, int]:
    """Bytes of an update on episodes as long as the limit: map, algorithm, learner, sparsity."""
    command = [sys.executable, "-c", PEAK, *arguments]
    made = subprocess.run(command, capture_output=True, text=True, check=True)
    peak, estimated = map(int, made.stdout.split())
    return peak, estimated


@pytest.mark.slow
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="needs /proc")
@pytest.mark.parametrize(
    ("map_name", "algorithm"), [("2s3z", "qmix"), ("3s5z", "qmix"), ("3s5z", "ow_qmix"), ("3s5z", "res")]
)
def test_the_estimate_of_an_update_is_near_the_torch_learners_peak(map_name: str, algorithm: str) -> None:
    peak, estimated = peak_and_estimate(map_name, algorithm, "torch", "0.9")
    assert 0.75 * peak < estimated < 1.4 * peak


@pytest.mark.slow
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="needs /proc")
@pytest.mark.parametrize("sparsity", ["0", "0.9"])
@pytest.mark.parametrize("algorithm", ["qmix", "ow_qmix", "res"])
@pytest.mark.parametrize("map_name", ["3m", "2s3z", "3s5z"])
def test_the_native_learner_needs_less(map_name: str, algorithm: str, sparsity: str) -> None:
    peak, estimated = peak_and_estimate(map_name, algorithm, "native", sparsity)
    assert peak < 0.8 * estimated
