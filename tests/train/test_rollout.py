"""Playing real battles: what is stored is what was seen and done, and both stages compute the same agent."""

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
