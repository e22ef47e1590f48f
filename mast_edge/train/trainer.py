"""One training run in memory: what it holds, and one iteration of it (algorithms.md, section 6).

`mast_edge.train.loop` gives it a folder, signals and checkpoints.
"""

import time
import zlib
from collections import deque
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from mast_edge.config_fields import ExperimentConfig
from mast_edge.envs.base import BatchEnv
from mast_edge.envs.making import make_battles
from mast_edge.errors import ConfigError
from mast_edge.registry import ALGORITHMS, SPARSE_METHODS, resolve
from mast_edge.spec import AgentSpec, EnvSpec
from mast_edge.train.checkpoint import Counters
from mast_edge.train.dynamic_capacity import policy_distance, shrink
from mast_edge.train.learners.choice import chosen_learner
from mast_edge.train.learners.torch import Estimate
from mast_edge.train.replay import ReplayBuffers
from mast_edge.train.rollout import Actor, Rollout, epsilon, play_episodes, play_exactly
from mast_edge.train.tickets import take_ticket
from mast_edge.train.window import Window
from mast_edge.widths import network_widths

STREAMS = ("topology", "acting", "sampling", "estimates")
LAST_EVALUATIONS = 20
"""A run's score is the mean of its last 20 evaluations (paper section 5.1)."""
RECORDED_EPISODES = 8
"""Greedy episodes kept in each checkpoint, for exports to be verified on."""
ESTIMATED_EPISODES = 40
"""Stored episodes whose value is estimated at every evaluation (algorithms.md 9)."""
EVALUATION_SEED = 2**30
"""Training environments have seeds below this, evaluations during training from here to 2**31."""


def random_streams(seed: int) -> dict[str, np.random.Generator]:
    """Independent named generators: methods with the same seed share initial weights and exploration."""
    return {name: random_stream(seed, name) for name in STREAMS}


def random_stream(seed: int, name: str) -> np.random.Generator:
    """One of a run's independent streams."""
    return np.random.default_rng(np.random.SeedSequence([seed, zlib.crc32(name.encode())]))


def make_env(config: ExperimentConfig, n_envs: int, seed: int) -> BatchEnv:
    """The configured environment.

    Raises:
        EnvironmentUnavailable: the map or backend cannot be played here.
    """
    return make_battles(config.env, n_envs, seed)


def training_seed(seed: int) -> int:
    """First environment seed of a run, in [0, 2**30)."""
    return zlib.crc32(f"training {seed}".encode()) >> 2


def _huge_weights() -> np.errstate:
    """Where weights explode the actor overflows first: no warnings, the next update ends the run."""
    return np.errstate(over="ignore", invalid="ignore")


class Trainer:
    """Environment, actor, buffers and learner of one run.

    Args:
        config: resolved experiment.
        device: of the learner; playing is always on the CPU.
        runs_root: where the run of a ticket is looked for; `mast_edge.runs.runs_root()` when None.
        learner: a name of `learners.choice.NAMES`.
        threads: cores for one update of the native learner.

    Raises:
        EnvironmentUnavailable: the map cannot be played here.
        ConfigError, MissingInput: the ticket does not fit, or is not there.
    """

    def __init__(
        self,
        config: ExperimentConfig,
        device: torch.device,
        runs_root: Path | None = None,
        learner: str = "auto",
        threads: int = 1,
    ) -> None:
        self.config = config
        self.env = make_env(config, config.rollout.n_envs, training_seed(config.seed))
        spec: EnvSpec = self.env.spec
        if spec.n_actions > 256:
            raise ConfigError(f"train: n_actions must be at most 256; got {spec.n_actions}.")
        self.streams = random_streams(config.seed)
        widths = network_widths(config, spec)
        algorithm = resolve("algorithm", ALGORITHMS, config.algorithm)(config, spec, widths)
        method = resolve("method", SPARSE_METHODS, config.method)
        methods = {
            network: method(config.topology, network, config.sparsity, self.streams["topology"])
            for network in algorithm.networks
        }
        ticket = take_ticket(config, algorithm.networks, runs_root)
        weights = random_stream(ticket.seed, ticket.stream)
        made = chosen_learner(learner, device, config, spec, threads)
        self.learner = made(config, algorithm, methods, spec, weights, device, ticket.masks)
        replay = config.replay
        self.replay = ReplayBuffers(
            replay.capacity, replay.online_capacity, replay.batch_size, replay.online_share, replay.max_steps
        )
        self.agent_spec = AgentSpec.of(spec, widths.hidden_dim)
        self.actor = Actor(self.agent_spec, config.rollout.n_envs)
        self.counters = Counters()
        self.evaluations: deque[float] = deque(maxlen=LAST_EVALUATIONS)
        self.window = Window()

    @property
    def done(self) -> bool:
        """Whether t_max has been reached."""
        return self.counters.t_env >= self.config.t_max

    @property
    def win_rate(self) -> float | None:
        """Mean of the last 20 evaluations."""
        return float(np.mean(self.evaluations)) if self.evaluations else None

    @property
    def epsilon(self) -> float:
        """Exploration of the next episode."""
        e = self.config.exploration
        return epsilon(self.counters.t_env, e.start, e.end, e.anneal_steps)

    @property
    def recorded_episodes(self) -> int:
        """Episodes to record in a checkpoint: real games take seconds each, so one of each is enough."""
        return RECORDED_EPISODES if self.env.seeded else min(RECORDED_EPISODES, self.env.n_envs)

    @property
    def evaluation_due(self) -> bool:
        """Evaluations sit on the grid 0, interval, 2 interval, ... t_max (algorithms.md 9)."""
        return self.counters.t_env >= self.counters.evaluations * self.config.evaluation.interval

    @property
    def snapshot_due(self) -> bool:
        """Whether t_env has reached the next of `topology.snapshots`."""
        shares, done = self.config.topology.snapshots, self.counters.snapshots
        return done < len(shares) and self.counters.t_env >= shares[done] * self.config.t_max

    @property
    def capacity_check_due(self) -> bool:
        """Dynamic capacity looks at the replay every `check_interval` environment steps."""
        replay = self.config.replay
        due = (self.counters.capacity_checks + 1) * replay.check_interval
        return replay.dynamic and self.replay.ready and self.counters.t_env >= due

    def iterate(self) -> None:
        """Plays one episode per environment, stores it, and makes `updates_per_episode` updates for each."""
        owed = self.play(self.learner.online.numpy("agent"))
        played = time.perf_counter()
        for _ in range(owed):
            batch = self.replay.draw(self.streams["sampling"])
            self.window.add(self.learner.update(batch, self.counters.t_env))
        self.window.seconds["learn"] += time.perf_counter() - played

    def play(self, weights: Mapping[str, NDArray[np.float32]]) -> int:
        """Plays one episode per environment with these weights of the agent, and stores it.

        Returns:
            How many updates follow.
        """
        self.actor.load(weights)
        with _huge_weights():
            rollout = play_episodes(self.env, self.actor, self.epsilon, self.streams["acting"])
        self._keep(rollout)
        self.window.seconds["env"] += rollout.env_seconds
        self.window.seconds["act"] += rollout.act_seconds
        return len(rollout.episodes) * self.config.rollout.updates_per_episode if self.replay.ready else 0

    def _keep(self, rollout: Rollout) -> None:
        for episode in rollout.episodes:
            self.replay.add(episode)
        self.counters.t_env += rollout.steps
        self.counters.episodes += len(rollout.episodes)
        self.counters.episodes_lost += rollout.lost
        self.window.episodes_lost += rollout.lost
        self.window.returns += rollout.returns.tolist()
        self.window.lengths += [e.length for e in rollout.episodes]
        self.window.wins += rollout.won.tolist()

    def evaluate(self) -> Rollout:
        """Greedy episodes with the online agent; each evaluation has environments and seeds of its own."""
        started = time.perf_counter()
        rollout = self.greedy(self.config.evaluation.episodes, self.counters.evaluations)
        # An episode longer than the interval passes a point of the grid; that one is left out.
        self.counters.evaluations = self.counters.t_env // self.config.evaluation.interval + 1
        self.evaluations.append(float(rollout.won.mean()))
        self.window.seconds["evaluate"] += time.perf_counter() - started
        return rollout

    def estimate(self) -> Estimate | None:
        """What the networks believe of stored episodes; None before the first is stored."""
        if not self.replay.episodes:
            return None
        started = time.perf_counter()
        episodes = self.replay.sample(ESTIMATED_EPISODES, self.streams["estimates"])
        estimate = self.learner.estimate(episodes)
        self.window.seconds["evaluate"] += time.perf_counter() - started
        return estimate

    def check_capacity(self) -> tuple[float, int]:
        """One look of dynamic capacity: the policy distance, and how many episodes were discarded."""
        config = self.config.replay
        self.counters.capacity_checks = self.counters.t_env // config.check_interval
        distance = policy_distance(self.replay, config.check_episodes, self.learner.greedy_actions)
        return distance, shrink(config, self.replay, distance)

    def greedy(self, episodes: int, index: int) -> Rollout:
        """`episodes` greedy battles; `index` picks their seeds.

        Where seeds decide nothing the games that training has open are used: starting others would cost
        minutes and gain nothing.
        """
        if not self.env.seeded:
            self.actor.load(self.learner.online.numpy("agent"))
            with _huge_weights():
                rollout = play_exactly(self.env, self.actor, episodes)
            self.counters.episodes_lost += rollout.lost
            return rollout
        seed = EVALUATION_SEED + (training_seed(self.config.seed) + index * episodes) % (
            EVALUATION_SEED - episodes
        )
        env = make_env(self.config, episodes, seed)
        actor = Actor(self.agent_spec, episodes)
        actor.load(self.learner.online.numpy("agent"))
        with _huge_weights():
            rollout = play_episodes(env, actor)
        env.close()
        return rollout
