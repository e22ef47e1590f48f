"""Playing real battles: what is stored is what was seen and done, and both stages compute the same agent."""

import time

import numpy as np
import pytest
import torch

from mast_edge.config import resolve
from mast_edge.envs.skirmish import Skirmish
from mast_edge.spec import AgentSpec
from mast_edge.train.algos.base import utilities
from mast_edge.train.algos.qmix import Qmix
from mast_edge.train.nets import ParameterBank, initial_weights
from mast_edge.train.replay import pack
from mast_edge.train.rollout import Actor, play_episodes
from mast_edge.train.tensor_batch import tensor_batch
from mast_edge.train.trainer import Trainer
from mast_edge.widths import network_widths


@pytest.fixture
def trainer() -> Trainer:
    torch.set_num_threads(1)
    return Trainer(resolve({"env": {"map": "3m"}, "t_max": 1000}), torch.device("cpu"))


def test_the_actor_and_the_learner_compute_the_same_greedy_actions() -> None:
    env = Skirmish("3m", n_envs=4, seed=3)
    config = resolve({"env": {"map": "3m"}})
    algorithm = Qmix(config, env.spec, network_widths(config, env.spec))
    bank = ParameterBank(algorithm.networks, torch.device("cpu"), trained=True)
    for name, value in initial_weights(algorithm.networks, np.random.default_rng(0)).items():
        bank.tensors[name].detach().copy_(torch.from_numpy(value * (3 if "agent" in name else 1)))
    actor = Actor(AgentSpec.of(env.spec), 4)
    actor.load(bank.numpy("agent"))
    rollout = play_episodes(env, actor)
    for episode in rollout.episodes:
        batch = pack([episode], env.spec, timeout_is_terminal=True)
        with torch.no_grad():
            q = utilities(bank, "agent", tensor_batch(batch, torch.device("cpu")))
        greedy = q.masked_fill(~torch.from_numpy(batch.avail), -torch.inf).argmax(-1)[:-1]
        assert greedy.tolist() == episode.actions.tolist()


def test_episodes_hold_what_the_environment_showed(trainer: Trainer) -> None:
    trainer.actor.load(trainer.learner.online.numpy("agent"))
    episode = play_episodes(trainer.env, trainer.actor, 1.0, trainer.streams["acting"]).episodes[0]
    twin = Trainer(trainer.config, torch.device("cpu")).env
    twin.reset()
    for t in range(episode.length):
        assert np.array_equal(episode.obs[t], twin.obs[0])
        assert np.array_equal(episode.state[t], twin.state[0])
        assert np.array_equal(episode.avail[t], twin.avail[0])
        step = twin.step(episode.actions[t][None].astype(np.int64))
        assert np.float32(step.reward[0]) == episode.reward[t]
        assert bool(step.terminated[0]) == (t == episode.length - 1)
    assert np.array_equal(episode.obs[-1], twin.obs[0])
    assert bool(step.timed_out[0]) == episode.timed_out


def episodes_of(env: Skirmish, epsilon: float, *, native: bool) -> list[tuple[list[object], object, object]]:
    """Everything that two rounds left behind: episodes, outcomes, environment and acting stream."""
    rng, actor = np.random.default_rng(7), Actor(AgentSpec.of(env.spec), env.n_envs)
    weights = np.random.default_rng(8)
    shapes = actor.spec.layer_shapes()
    layers = {f"{layer}.weight": weights.normal(size=shape) for layer, shape in shapes.items()}
    layers |= {f"{layer}.bias": weights.normal(size=shape[0]) for layer, shape in shapes.items()}
    actor.load({name: array.astype(np.float32) for name, array in layers.items()})
    found = []
    for _ in range(2):
        rollout = play_episodes(env, actor, epsilon, rng, native=native)
        episodes = [
            (e.obs, e.state, e.avail, e.actions, e.reward, e.terminated, e.timed_out)
            for e in rollout.episodes
        ]
        parts = [part if isinstance(part, bool) else part.tobytes() for e in episodes for part in e]
        shown = [a.tobytes() for a in (env.obs, env.state, env.avail, env.snapshot())]
        found.append((parts, (rollout.won.tolist(), rollout.steps, rollout.lost, shown), rng.random()))
    return found


@pytest.mark.parametrize("options", [{}, {"heuristic_ai": True}, {"threads": 2}], ids=str)
@pytest.mark.parametrize(("n_envs", "epsilon"), [(1, 0.2), (5, 0.0), (5, 1.0)])
@pytest.mark.parametrize("name", ["3m", "2s3z", "MMM"])
def test_playing_natively_changes_nothing(name, n_envs, epsilon, options) -> None:
    envs = [Skirmish(name, n_envs, seed=2, **options) for _ in range(2)]
    ours, theirs = (episodes_of(env, epsilon, native=n) for env, n in zip(envs, (True, False), strict=True))
    assert ours == theirs
    assert envs[0].played.shape == envs[1].played.shape
    last = envs[0].stats()["steps"] == envs[0].stats()["steps"].max()  # the others kept other rows
    assert envs[0].played[last].tolist() == envs[1].played[last].tolist()


def test_an_environment_plays_alone_as_it_does_in_a_batch(trainer: Trainer) -> None:
    weights, spec = trainer.learner.online.numpy("agent"), AgentSpec.of(trainer.env.spec)
    rollouts = []
    for seed, n_envs in ((3, 3), (3, 1), (4, 1), (5, 1)):
        actor = Actor(spec, n_envs)
        actor.load(weights)
        rollouts.append(play_episodes(Skirmish("3m", n_envs, seed=seed), actor))
    assert rollouts[0].won.tolist() == [bool(r.won[0]) for r in rollouts[1:]]
    for together, alone in zip(rollouts[0].episodes, rollouts[1:], strict=True):
        for part in ("obs", "state", "avail", "actions", "reward"):
            assert getattr(together, part).tobytes() == getattr(alone.episodes[0], part).tobytes()


def test_episodes_own_what_they_fill_and_no_more(trainer: Trainer) -> None:
    env = Skirmish("3m", 3, seed=1)
    actor = Actor(trainer.agent_spec, 3)
    actor.load(trainer.learner.online.numpy("agent"))
    for native in (True, False):
        for e in play_episodes(env, actor, native=native).episodes:
            length = e.length
            assert e.nbytes == (length + 1) * (4 * 3 * 30 + 4 * 48 + 3 * 9) + length * (3 + 4)
            assert all(a.base is None for a in (e.obs, e.state, e.avail, e.actions, e.reward))


def test_times_are_told_apart(trainer: Trainer) -> None:
    trainer.actor.load(trainer.learner.online.numpy("agent"))
    for native in (True, False):
        began = time.perf_counter()
        rollout = play_episodes(trainer.env, trainer.actor, native=native)
        passed = time.perf_counter() - began
        assert 0 < rollout.env_seconds + rollout.act_seconds < passed
        assert min(rollout.env_seconds, rollout.act_seconds) > 0


def test_exploration_takes_available_actions_only(trainer: Trainer) -> None:
    trainer.actor.load(trainer.learner.online.numpy("agent"))
    taken = []
    for _ in range(5):
        episode = play_episodes(trainer.env, trainer.actor, 1.0, trainer.streams["acting"]).episodes[0]
        available = np.take_along_axis(episode.avail[:-1], episode.actions[..., None].astype(np.int64), 2)
        assert available.all()
        taken += episode.actions.ravel().tolist()
    assert len(set(taken)) >= 6


def test_evaluations_sit_on_the_grid_and_do_not_disturb_training(trainer: Trainer) -> None:
    before = trainer.env.snapshot().copy()
    state = trainer.streams["acting"].bit_generator.state
    assert trainer.evaluation_due
    trainer.evaluate()
    assert not trainer.evaluation_due
    assert np.array_equal(before, trainer.env.snapshot())
    assert trainer.streams["acting"].bit_generator.state == state
    assert trainer.counters.t_env == 0
