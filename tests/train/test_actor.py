"""The native actor against the agent in plain numpy: values, choices, and what is drawn for exploration."""

import numpy as np
import pytest
from numpy.typing import NDArray

from mast_edge.dense_agent import DenseAgent, masked_argmax
from mast_edge.spec import AgentSpec
from mast_edge.train.rollout import Actor

SPECS = {
    "3m": AgentSpec(30, 9, 3),
    "3s5z": AgentSpec(128, 14, 8),
    "2c_vs_64zg": AgentSpec(332, 70, 2),
    "tiny": AgentSpec(30, 9, 3, hidden_dim=13),
    "one of everything": AgentSpec(1, 1, 1, hidden_dim=1),
    "just over a block": AgentSpec(17, 17, 5, hidden_dim=17),
}


def random_weights(spec: AgentSpec, seed: int = 0) -> dict[str, NDArray[np.float32]]:
    rng = np.random.default_rng(seed)
    weights = {}
    for layer, (out, in_) in spec.layer_shapes().items():
        weights[f"{layer}.weight"] = rng.normal(scale=1 / np.sqrt(in_), size=(out, in_)).astype(np.float32)
        weights[f"{layer}.bias"] = rng.normal(scale=0.3, size=out).astype(np.float32)
    return weights


def random_step(spec: AgentSpec, n_envs: int, rng: np.random.Generator) -> tuple[NDArray, NDArray]:
    """obs (E, N, O), half of it zero, and avail (E, N, A)."""
    shape = (n_envs, spec.n_agents)
    obs = rng.uniform(-1, 1, (*shape, spec.obs_dim)) * (rng.random((*shape, spec.obs_dim)) < 0.5)
    avail = (rng.random((*shape, spec.n_actions)) < 0.5).astype(np.uint8)
    avail[..., -1] = 1
    return obs.astype(np.float32), avail


def q_of(actor: Actor, n_envs: int) -> NDArray[np.float32]:
    q = np.empty((n_envs, actor.spec.n_agents, actor.spec.n_actions), np.float32)
    actor.core.read_q(q)
    return q


class Reference:
    """Acts with `DenseAgent` in double precision and numpy's own random numbers."""

    def __init__(self, spec: AgentSpec, n_envs: int, weights: dict[str, NDArray[np.float32]]) -> None:
        self.agent = DenseAgent(spec, {name: array.astype(np.float64) for name, array in weights.items()})
        self.ids = np.tile(np.arange(spec.n_agents), n_envs)
        self.hidden = np.zeros((len(self.ids), spec.hidden_dim))
        self.last = np.full(len(self.ids), -1)

    def act(
        self, obs: NDArray, avail: NDArray, epsilon: float, rng: np.random.Generator
    ) -> NDArray[np.int64]:
        q, self.hidden = self.agent.step(obs.reshape(len(self.ids), -1), self.last, self.ids, self.hidden)
        self.q = q.reshape(avail.shape)
        actions = masked_argmax(self.q, avail)
        if epsilon > 0:
            explore = rng.random(actions.shape) < epsilon
            if explore.any():
                actions = np.where(
                    explore, np.where(avail, rng.random(avail.shape), -1.0).argmax(-1), actions
                )
        self.last = actions.ravel()
        return actions


@pytest.mark.parametrize("n_envs", [1, 3])
@pytest.mark.parametrize("spec", SPECS.values(), ids=SPECS)
def test_values_actions_and_draws_are_those_of_numpy(spec, n_envs, instruction_set) -> None:
    weights, rng = random_weights(spec), np.random.default_rng(5)
    actor, reference = Actor(spec, n_envs), Reference(spec, n_envs, weights)
    actor.load(weights)
    for rounds in range(3):
        ours, theirs = np.random.default_rng(rounds), np.random.default_rng(rounds)
        for epsilon in (0.0, 0.1, 0.5, 0.0, 1.0):
            obs, avail = random_step(spec, n_envs, rng)
            actions = actor.act(obs, avail, epsilon, ours)
            expected = reference.act(obs, avail, epsilon, theirs)
            scale = np.abs(reference.q).max()
            np.testing.assert_allclose(q_of(actor, n_envs), reference.q, rtol=1e-5, atol=2e-6 * scale)
            assert actions.tolist() == expected.tolist()
            assert ours.bit_generator.state == theirs.bit_generator.state
        actor.reset()
        reference.__init__(spec, n_envs, weights)


@pytest.mark.parametrize("spec", [SPECS["3m"], SPECS["just over a block"]], ids=["3m", "just over a block"])
def test_a_batch_computes_the_bits_of_its_environments(spec, instruction_set) -> None:
    weights, rng, together = random_weights(spec), np.random.default_rng(6), Actor(spec, 11)
    alone = [Actor(spec, 1) for _ in range(11)]
    for actor in (together, *alone):
        actor.load(weights)
    running = np.ones(11, bool)
    for ending in (4, 5, 0, 10, 7):
        obs, avail = random_step(spec, 11, rng)
        actions = together.act(obs, avail, which=running)
        for b in np.flatnonzero(running):
            assert alone[b].act(obs[b : b + 1], avail[b : b + 1])[0].tolist() == actions[b].tolist()
            assert q_of(alone[b], 1)[0].tobytes() == q_of(together, 11)[b].tobytes()
        assert not actions[~running].any()
        running[ending] = False
    returned = np.zeros(11, bool)
    returned[4] = True  # left out since the first step, its state waited
    obs, avail = random_step(spec, 11, rng)
    together.act(obs, avail, which=returned)
    alone[4].act(obs[4:5], avail[4:5])
    assert q_of(alone[4], 1)[0].tobytes() == q_of(together, 11)[4].tobytes()


def test_who_plays_does_not_change_what_is_drawn() -> None:
    spec = SPECS["3m"]
    obs, avail = random_step(spec, 4, np.random.default_rng(0))
    some = np.array([False, True, False, True])
    rngs = [np.random.default_rng(1) for _ in range(2)]
    actions = []
    for rng, which in zip(rngs, (None, some), strict=True):
        actor = Actor(spec, 4)
        actor.load(random_weights(spec))
        actions.append(actor.act(obs, avail, 0.3, rng, which))
    assert rngs[0].bit_generator.state == rngs[1].bit_generator.state
    assert actions[0][some].tolist() == actions[1][some].tolist()


def chosen(bias: list[float], avail: list[int]) -> int:
    """By an agent whose Q values are these."""
    spec = AgentSpec(2, len(bias), 1, 16)
    weights = {name: np.zeros_like(array) for name, array in random_weights(spec).items()}
    actor = Actor(spec, 1)
    actor.load(weights | {"fc2.bias": np.array(bias, np.float32)})
    return int(actor.act(np.zeros((1, 1, 2), np.float32), np.array([[avail]], np.uint8))[0, 0])


def test_the_largest_available_value_wins_and_the_lowest_index_a_tie() -> None:
    inf, nan = np.inf, np.nan
    assert chosen([1, 3, 2, 3], [1, 1, 1, 1]) == 1
    assert chosen([1, 3, 2, 3], [1, 0, 1, 1]) == 3
    assert chosen([1, 3, 2, 3], [1, 0, 1, 0]) == 2
    assert chosen([-5, -6, 9], [0, 1, 0]) == 1
    assert chosen([-5, -6, 9], [0, 0, 0]) == 0
    assert chosen([-0.0, 0.0], [1, 1]) == 0
    # As numpy's argmax: the first NaN. But never an action that is not available.
    assert chosen([1, nan, inf, nan], [1, 1, 1, 1]) == 1
    assert chosen([1, nan, inf, nan], [1, 0, 1, 0]) == 2
    assert chosen([0, -inf, -inf], [0, 1, 1]) == 1


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 3e38, -3e38])
def test_weights_that_exploded_still_give_available_actions(value, instruction_set) -> None:
    spec = SPECS["tiny"]
    healthy, rng = random_weights(spec), np.random.default_rng(2)
    for name in healthy:
        for whole in (False, True):
            weights = {n: array.copy() for n, array in healthy.items()}
            weights[name].reshape(-1)[0 if not whole else slice(None)] = value
            actor = Actor(spec, 2)
            actor.load(weights)
            for _ in range(3):
                obs, avail = random_step(spec, 2, rng)
                actions = actor.act(obs, avail, 0.1, rng)
                assert np.take_along_axis(avail, actions[..., None], 2).all()


def test_shapes_that_do_not_fit_are_refused() -> None:
    spec, weights = SPECS["3m"], random_weights(SPECS["3m"])
    actor = Actor(spec, 2)
    with pytest.raises(ValueError, match=r"shape of fc1 must be \(64, 42\); got \(64, 150\)"):
        actor.load(random_weights(SPECS["3s5z"]))
    actor.load(weights)
    obs, avail = random_step(spec, 1, np.random.default_rng(0))
    with pytest.raises(ValueError, match=r"shape of obs must be \(2, 3, 30\); got \(1, 3, 30\)"):
        actor.act(obs, avail)
    with pytest.raises(ValueError, match="sizes must be at least 1"):
        Actor(AgentSpec(30, 9, 3, 0), 1)
