"""The contract of every registered runtime backend."""

import numpy as np
import pytest

from mast_edge.checkpoint_files import read_agent, read_recorded
from mast_edge.dense_agent import DenseAgent, replay
from mast_edge.registry import RUNTIME_BACKENDS
from mast_edge.runtime import Agent, AgentState
from tests.agents import MAP_3M, TINY

FILES = {
    "numpy": "exports/csr/agent.safetensors",
    "csr": "exports/csr/agent.safetensors",
    "onnx": "exports/onnx/agent.onnx",
    "c": "exports/c/agent.c",
    "torch": ".",
}
CASES = [(TINY, 0.8), (MAP_3M, 0.0), (MAP_3M, 0.9), (MAP_3M, 0.95)]


def load(folder, backend, **kwargs):
    return Agent.load(folder / FILES[backend], backend=backend, **kwargs)


def test_every_backend_is_tested():
    assert set(FILES) == set(RUNTIME_BACKENDS)


@pytest.mark.parametrize("backend", RUNTIME_BACKENDS)
@pytest.mark.parametrize(("spec", "sparsity"), CASES)
def test_same_actions_and_q_as_the_checkpoint(exported, backend, spec, sparsity):
    folder = exported(spec, sparsity)
    checkpoint, recorded = read_agent(folder), read_recorded(folder)
    expected = replay(DenseAgent(spec, checkpoint.weights).affine, spec, recorded)
    team = [load(folder, backend)]
    team += [team[0].clone(agent_id) for agent_id in range(1, spec.n_agents)]
    for t, first in enumerate(recorded.first):
        for i, agent in enumerate(team):
            if first:
                agent.reset()
            seen = agent.q(recorded.obs[t, i])
            action = agent.act(recorded.obs[t, i], recorded.avail[t, i])
            assert type(action) is int
            assert action == recorded.actions[t, i]
            error = np.abs(agent.last_q - expected[t, i])
            assert (error <= 1e-5 * np.maximum(1, np.abs(expected[t, i]))).all()
            np.testing.assert_array_equal(agent.last_q, seen)


@pytest.mark.parametrize("backend", RUNTIME_BACKENDS)
def test_act_many_is_n_times_act(exported, backend):
    folder = exported(MAP_3M, 0.9)
    recorded = read_recorded(folder)
    one = load(folder, backend)
    team = [one.clone(agent_id) for agent_id in (2, 0, 1)]
    states = one.states([2, 0, 1])
    for t in range(8):
        actions = one.act_many(recorded.obs[t], recorded.avail[t], states)
        assert actions.tolist() == [
            agent.act(recorded.obs[t, i], recorded.avail[t, i]) for i, agent in enumerate(team)
        ]
        hidden = np.stack([agent.get_state().hidden for agent in team])
        q = np.stack([agent.last_q for agent in team])
        if backend == "csr":
            np.testing.assert_array_equal(states.hidden, hidden)
            np.testing.assert_array_equal(states.q, q)
        np.testing.assert_allclose(states.hidden, hidden, atol=1e-5)
        np.testing.assert_allclose(states.q, q, atol=1e-4)
    assert one.get_state().last_action == -1
    which = np.array([True, False, False])
    kept = states.copy()
    states.reset(which)
    assert not states.hidden[0].any()
    assert states.last_actions.tolist() == [-1, *kept.last_actions[1:]]
    np.testing.assert_array_equal(states.hidden[1:], kept.hidden[1:])


@pytest.mark.parametrize("backend", RUNTIME_BACKENDS)
def test_state_goes_out_and_in(tiny, backend):
    recorded = read_recorded(tiny)
    agent = load(tiny, backend, agent_id=1)
    for t in range(3):
        agent.act(recorded.obs[t, 1], recorded.avail[t, 1])
    state = agent.get_state()
    twin = load(tiny, backend, agent_id=1)
    twin.set_state(state)
    after = agent.get_state()
    assert after.last_action == state.last_action
    np.testing.assert_array_equal(after.hidden, state.hidden)
    state.hidden[:] = 0
    assert agent.get_state().hidden.any()
    for t in range(3, 8):
        action = agent.act(recorded.obs[t, 1], recorded.avail[t, 1])
        assert twin.act(recorded.obs[t, 1], recorded.avail[t, 1]) == action
        np.testing.assert_array_equal(twin.last_q, agent.last_q)


@pytest.mark.parametrize("backend", RUNTIME_BACKENDS)
def test_reset_equals_a_fresh_load(tiny, backend):
    recorded = read_recorded(tiny)
    agent = load(tiny, backend)
    fresh = agent.q(recorded.obs[0, 0])
    for t in range(4):
        agent.act(recorded.obs[t, 0], recorded.avail[t, 0])
    assert (agent.q(recorded.obs[0, 0]) != fresh).any()
    agent.reset()
    np.testing.assert_array_equal(agent.q(recorded.obs[0, 0]), fresh)
    assert not agent.last_q.any()
    agent.reset(agent_id=2)
    assert agent.agent_id == 2
    np.testing.assert_array_equal(
        agent.q(recorded.obs[0, 0]), load(tiny, backend, agent_id=2).q(recorded.obs[0, 0])
    )


@pytest.mark.parametrize("backend", RUNTIME_BACKENDS)
def test_an_observed_action_replaces_the_own_one(tiny, backend):
    recorded = read_recorded(tiny)
    agent = load(tiny, backend)
    agent.act(recorded.obs[0, 0], recorded.avail[0, 0])
    own = agent.q(recorded.obs[1, 0])
    agent.observe_action((agent.get_state().last_action + 1) % 5)
    assert (agent.q(recorded.obs[1, 0]) != own).any()
    for wrong in (-1, 5, True, 1.0):
        with pytest.raises(ValueError, match="action must be an integer in"):
            agent.observe_action(wrong)


@pytest.mark.parametrize("backend", RUNTIME_BACKENDS)
def test_wrong_inputs_name_the_field_and_change_nothing(tiny, backend):
    agent = load(tiny, backend)
    obs, avail = np.ones(7, np.float32), np.ones(5, np.uint8)
    agent.act(obs, avail)
    before, q = agent.get_state(), agent.last_q
    nan, endless = obs.copy(), obs.copy()
    nan[3], endless[0] = np.nan, -np.inf
    cases = [
        (obs[:6], avail, r"obs must be float32 \(7,\); got float32 \(6,\)"),
        (obs.astype(np.float64), avail, "obs must be float32 .* got float64"),
        (obs[None], avail, r"got float32 \(1, 7\)"),
        (obs.tolist(), avail, "numpy array .* got list"),
        (None, avail, "got NoneType"),
        (nan, avail, r"obs must be finite; got nan at \[3\]"),
        (endless, avail, "obs must be finite; got -inf"),
        (obs, avail[:4], r"avail must be bool or uint8 \(5,\); got uint8 \(4,\)"),
        (obs, avail.astype(np.int64), "avail must be .* got int64"),
        (obs, avail.astype(np.float32), "avail must be .* got float32"),
        (obs, avail * 0, "at least one available action; got none"),
        (obs.byteswap().view(obs.dtype.newbyteorder()), avail, r"obs must be float32 .* got [<>]f4 \(7,\)"),
        (obs[:0], avail, r"obs must be float32 \(7,\); got float32 \(0,\)"),
        (np.float32(1), avail, "numpy array .* got float32"),
        (obs.astype(object), avail, "got object"),
        (obs.astype(np.complex64), avail, "got complex64"),
        (obs, None, "avail must be a numpy array .* got NoneType"),
        (obs, avail[None], r"avail must be .* got uint8 \(1, 5\)"),
        (obs, avail[:0], r"avail must be .* got uint8 \(0,\)"),
        (obs, [True] * 5, "avail must be a numpy array .* got list"),
        (obs, np.zeros(5, bool), "at least one available action; got none"),
    ]
    for wrong_obs, wrong_avail, message in cases:
        with pytest.raises(ValueError, match=message):
            agent.act(wrong_obs, wrong_avail)
    for wrong, _, message in cases[:7]:
        with pytest.raises(ValueError, match=message):
            agent.q(wrong)
    states = agent.states([0, 1])
    with pytest.raises(ValueError, match=r"obs must be float32 \(2, 7\)"):
        agent.act_many(np.ones((3, 7), np.float32), np.ones((2, 5), np.uint8), states)
    with pytest.raises(ValueError, match="none in row 1"):
        agent.act_many(np.ones((2, 7), np.float32), np.eye(2, 5, dtype=np.uint8) * [[1], [0]] != 0, states)
    assert not states.hidden.any()
    assert agent.get_state().last_action == before.last_action
    np.testing.assert_array_equal(agent.get_state().hidden, before.hidden)
    np.testing.assert_array_equal(agent.last_q, q)


@pytest.mark.parametrize("backend", RUNTIME_BACKENDS)
def test_wrong_batches_name_the_field_and_change_nothing(tiny, backend):
    agent = load(tiny, backend)
    obs, avail = np.ones((2, 7), np.float32), np.ones((2, 5), np.uint8)
    states = agent.states([0, 1])
    agent.act_many(obs, avail, states)
    kept = states.copy()
    nan = obs.copy()
    nan[1, 3] = np.nan
    for wrong_obs, wrong_avail, message in (
        (obs[:1], avail, r"obs must be float32 \(2, 7\); got float32 \(1, 7\)"),
        (obs.astype(np.float64), avail, "got float64"),
        (obs.tolist(), avail, "got list"),
        (nan, avail, r"obs must be finite; got nan at \[1, 3\]"),
        (obs, avail[0], r"avail must be bool or uint8 \(2, 5\); got uint8 \(5,\)"),
        (obs, avail.astype(np.int8), "got int8"),
        (obs, np.array([[1] * 5, [0] * 5], np.uint8), "got none in row 1"),
    ):
        with pytest.raises(ValueError, match=message):
            agent.act_many(wrong_obs, wrong_avail, states)
    for name, wrong, message in (
        (
            "hidden",
            np.zeros((2, 9), np.float32),
            r"states.hidden must be float32 \(2, 8\); got float32 \(2, 9\)",
        ),
        ("hidden", np.zeros((2, 8)), "got float64"),
        ("hidden", np.zeros((2, 16), np.float32)[:, ::2], "states.hidden must be contiguous"),
        ("q", np.zeros((1, 5), np.float32), r"states.q must be float32 \(2, 5\)"),
        ("last_actions", np.zeros(3, np.int64), r"states.last_actions must be int64 \(2,\)"),
        ("last_actions", np.array([0, 5]), r"states.last_actions must be in -1\.\.4; got 5 at 1"),
        ("last_actions", np.array([-2, 0]), "got -2 at 0"),
        ("agent_ids", np.array([0, 3]), r"states.agent_ids must be in 0\.\.2; got 3 at 1"),
        ("agent_ids", np.array([0, -1]), "got -1 at 1"),
        ("agent_ids", [0, 1], "states.agent_ids must be a numpy array"),
        ("agent_ids", np.array([0, 1], np.int32), "got int32"),
    ):
        changed = kept.copy()
        setattr(changed, name, wrong)
        with pytest.raises(ValueError, match=message):
            agent.act_many(obs, avail, changed)
    for name in ("hidden", "last_actions", "agent_ids", "q"):
        np.testing.assert_array_equal(getattr(states, name), getattr(kept, name))
    for wrong in ([0, 3], [-1], [0.0], [True], ["0"]):
        with pytest.raises(ValueError, match=r"agent_id must be an integer in 0\.\.2"):
            agent.states(wrong)


@pytest.mark.parametrize("backend", RUNTIME_BACKENDS)
def test_inputs_that_are_right_but_unusual(tiny, backend):
    agent, other = load(tiny, backend), load(tiny, backend)
    obs, avail = np.arange(7, dtype=np.float32), np.array([0, 0, 0, 2, 0], np.uint8)
    strided = np.repeat(obs, 2)[::2]
    unaligned = np.frombuffer(b"\0" + obs.tobytes(), np.float32, offset=1)
    assert agent.act(strided, avail != 0) == 3
    assert other.act(unaligned, avail) == 3
    np.testing.assert_array_equal(agent.last_q, other.last_q)


def test_the_finite_check_can_be_switched_off(tiny):
    agent = load(tiny, "csr", check=False)
    agent.act(np.full(7, np.inf, np.float32), np.ones(5, np.uint8))


@pytest.mark.parametrize("backend", RUNTIME_BACKENDS)
def test_wrong_states_are_refused(tiny, backend):
    agent = load(tiny, backend)
    for wrong in (None, np.zeros(8, np.float32), (np.zeros(8, np.float32), -1)):
        with pytest.raises(ValueError, match="state must be an AgentState; got"):
            agent.set_state(wrong)
    for hidden in (np.zeros(8), np.zeros((1, 8), np.float32), [0.0] * 8, None):
        with pytest.raises(ValueError, match=r"hidden must be .*float32 \(8,\).* got"):
            agent.set_state(AgentState(hidden, -1))
    for last in (-2, 0.0, True, None, 2**40):
        with pytest.raises(ValueError, match=r"action must be an integer in 0\.\.4; got"):
            agent.set_state(AgentState(np.zeros(8, np.float32), last))
    assert (agent.get_state().last_action, agent.get_state().hidden.any()) == (-1, False)
    with pytest.raises(ValueError, match="hidden must be float32"):
        agent.set_state(AgentState(np.zeros(7, np.float32), -1))
    with pytest.raises(ValueError, match="finite"):
        agent.set_state(AgentState(np.full(8, np.nan, np.float32), -1))
    with pytest.raises(ValueError, match="action"):
        agent.set_state(AgentState(np.zeros(8, np.float32), 5))
    for wrong in (-1, 3):
        with pytest.raises(ValueError, match=r"agent_id must be an integer in 0\.\.2"):
            agent.clone(wrong)


def test_two_agents_do_not_share_memory(tiny):
    one = load(tiny, "csr")
    two = one.clone(0)
    recorded = read_recorded(tiny)
    one.act(recorded.obs[0, 0], recorded.avail[0, 0])
    assert two.get_state().last_action == -1
    assert not two.get_state().hidden.any()
