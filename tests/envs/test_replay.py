"""Replays: small files that give back the same battle, and refuse to be anything else."""

import dataclasses
import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mast_edge.envs import replay as replay_module
from mast_edge.envs.maps import map_names
from mast_edge.envs.replay import FORMAT, Replay, load_replay, save_replay
from mast_edge.envs.scripted import NearestPolicy, RandomPolicy
from mast_edge.envs.skirmish import SIMULATOR_VERSION, Skirmish
from mast_edge.errors import (
    ArtifactCorrupt,
    ArtifactInconsistent,
    ArtifactMalformed,
    ArtifactSelfTest,
    ArtifactVersion,
    MissingInput,
)


def moment(env, row=0):
    return b"".join(a[row].tobytes() for a in (env.obs, env.state, env.avail, env.units()))


def battle(env, policy, limit=10_000):
    """Plays every environment to its end; actions (T, E, N), -1 afterwards, and what each showed."""
    env.reset()
    running = np.ones(env.n_envs, bool)
    actions, shown = [], [[moment(env, b)] for b in range(env.n_envs)]
    while running.any() and len(actions) < limit:
        chosen = policy.act(env)
        actions.append(np.where(running[:, None], chosen, -1))
        before = running.copy()
        running &= ~env.step(chosen, running).terminated
        for b in np.flatnonzero(before):
            shown[b].append(moment(env, b))
    return np.stack(actions), shown


@pytest.fixture
def played():
    env = Skirmish("3m", 1, seed=5)
    actions, _ = battle(env, NearestPolicy())
    return Replay.of(env, actions[:, 0])


@settings(max_examples=25, deadline=None)
@given(
    name=st.sampled_from(map_names()),
    seed=st.integers(0, 2**64 - 1),
    episode=st.integers(0, 3),
    choices=st.integers(0, 2**32),
    limit=st.integers(1, 40),
    step_mul=st.sampled_from([1, 5, 8]),
)
def test_any_battle_plays_back_to_the_same_bytes(name, seed, episode, choices, limit, step_mul):
    env = Skirmish(name, 1, seed=seed, step_mul=step_mul, obs_last_action=True)
    for _ in range(episode):
        env.reset()
    actions, shown = battle(env, RandomPolicy(np.random.default_rng(choices)), limit)
    again = Replay.from_bytes(Replay.of(env, actions[:, 0]).to_bytes())
    assert again.episode == episode
    assert [moment(e) for e in again.play()] == shown[0]


def test_every_environment_of_a_batch_in_any_episode():
    env = Skirmish("8m", 3, seed=2**64 - 2)
    for _ in range(3):
        actions, shown = battle(env, NearestPolicy())
        for b in range(3):
            again = Replay.of(env, actions[:, b], b)
            assert [moment(e) for e in again.play()] == shown[b]
    assert (again.seed, again.episode) == (0, 2)


def test_begin_at_a_late_episode_is_the_same_as_all_the_resets():
    walked, jumped = (Skirmish("3m", 2, seed=9) for _ in range(2))
    for _ in range(301):
        walked.reset()
    jumped.begin_at(300)
    with pytest.raises(ValueError, match="step must follow a reset"):
        jumped.step(np.ones((2, 3), np.int64))
    jumped.reset()
    assert [moment(walked, b) for b in range(2)] == [moment(jumped, b) for b in range(2)]
    assert jumped.stats()["episodes"].tolist() == [301, 301]


def test_a_3m_battle_takes_about_two_hundred_bytes(played, tmp_path):
    size = save_replay(tmp_path / "a.replay", played)
    assert size == (tmp_path / "a.replay").stat().st_size < 256
    title, header, _ = (tmp_path / "a.replay").read_bytes().split(b"\n", 2)
    assert title.startswith(FORMAT.encode() + b" ")
    assert json.loads(header) == {
        **{"simulator": SIMULATOR_VERSION, "map": "3m", "profile": "liberty", "options": {}},
        **{"seed": 5, "episode": 0, "steps": len(played.actions), "battle": played.battle},
    }
    again = load_replay(tmp_path / "a.replay")
    assert (again.actions == played.actions).all()
    assert again.to_bytes() == played.to_bytes()


def test_packing_by_hand():
    actions = np.array([[1, 8, 5]], np.int16)  # 0001 1000 0101
    assert replay_module._pack(actions, 4) == bytes([0b00011000, 0b01010000])
    assert replay_module._unpack(bytes([0b00011000, 0b01010000]), 1, 3, 4).tolist() == [[1, 8, 5]]
    assert replay_module._unpack(bytes([0b00011000, 0b01010001]), 1, 3, 4) is None


def test_actions_that_were_not_played_are_not_recorded():
    env = Skirmish("3m", 1, seed=5)
    actions, _ = battle(env, NearestPolicy())
    with pytest.raises(ValueError, match="all those played since the last reset"):
        Replay.of(env, actions[:-1, 0])
    with pytest.raises(ValueError, match="must have played a step"):
        Replay.of(Skirmish("3m", 1, seed=5), np.zeros((0, 3), np.int16))


def test_options_are_kept_but_not_places_of_the_machine():
    env = Skirmish("3m", 1, seed=5, profile="void", reward_sparse=True, replay_dir="/home/somebody")
    actions, _ = battle(env, NearestPolicy())
    data = Replay.of(env, actions[:, 0]).to_bytes()
    assert b"somebody" not in data
    again = Replay.from_bytes(data)
    assert (again.profile, again.options) == ("void", {"reward_sparse": True})


def test_every_cut_and_every_flipped_byte_is_refused(played):
    data = played.to_bytes()
    for length in range(len(data)):
        with pytest.raises((ArtifactMalformed, ArtifactCorrupt, ArtifactVersion)):
            Replay.from_bytes(data[:length])
    for at in range(len(data)):
        flipped = bytearray(data)
        flipped[at] ^= 1
        with pytest.raises((ArtifactMalformed, ArtifactCorrupt, ArtifactVersion)):
            Replay.from_bytes(bytes(flipped))


def forged(replay, **changes):
    """A file whose digest is right and whose header is not."""
    _, line, packed = replay.to_bytes().split(b"\n", 2)
    body = json.dumps({**json.loads(line), **changes}).encode() + b"\n" + packed
    return f"{FORMAT} {replay_module._sha256(body)}\n".encode() + body


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"map": "3mm"}, ArtifactInconsistent, "got '3mm'"),
        ({"map": "8m"}, ArtifactInconsistent, "must fill it"),
        ({"profile": "hots"}, ArtifactInconsistent, "got 'hots'"),
        ({"options": {"step_mull": 4}}, ArtifactInconsistent, "step_mull"),
        ({"options": {"step_mul": 10**6}}, ArtifactInconsistent, "step_mul must be at most 10000"),
        ({"map": "3s5z", "options": {"step_mul": 10**4}, "steps": 150}, ArtifactInconsistent, "1,000,000"),
        ({"seed": 2**64}, ArtifactInconsistent, "seed must be in"),
        ({"episode": -1}, ArtifactInconsistent, "episode must be in"),
        ({"steps": 1}, ArtifactInconsistent, "1 steps of 3 agents"),
        ({"steps": 10**9}, ArtifactInconsistent, "steps must be 1 to 60"),
        ({"steps": True}, ArtifactMalformed, "field steps must be int; got True"),
        ({"map": ["3m"]}, ArtifactMalformed, "field map must be str"),
        ({"simulator": 3}, ArtifactVersion, "simulator must be version 2; got 3"),
        ({"options": {"x": "y" * 5000}}, ArtifactMalformed, "at most 4096 bytes"),
    ],
)
def test_a_forged_header_is_refused(played, changes, error, message):
    with pytest.raises(error, match=message) as caught:
        Replay.from_bytes(forged(played, **changes), "x.replay")
    assert caught.value.exit_code == 5
    assert str(caught.value).startswith("x.replay: ")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "changes", [{"seed": 6}, {"episode": 1}, {"battle": "0" * 32}, {"options": {"reward_sparse": True}}]
)
def test_another_battle_is_refused(played, changes, tmp_path):
    path = tmp_path / "forged.replay"
    path.write_bytes(forged(played, **changes))
    with pytest.raises(ArtifactSelfTest, match="another battle") as caught:
        load_replay(path)
    assert caught.value.exit_code == 5


def test_an_altered_action_is_refused(played):
    actions = played.actions.copy()
    actions[3, 1] = 1 if actions[3, 1] != 1 else 2
    with pytest.raises(ArtifactSelfTest):
        dataclasses.replace(played, actions=actions).verify()


def test_foreign_files(tmp_path, played):
    with pytest.raises(MissingInput, match="got no"):
        load_replay(tmp_path / "none.replay")
    path = tmp_path / "x.replay"
    for content in (b"", b"\n", b"GIF89a", b"mast-edge/replay/1\n", bytes(range(256)) * 5000):
        path.write_bytes(content)
        with pytest.raises(ArtifactMalformed):
            load_replay(path)
    path.write_bytes(played.to_bytes().replace(b"replay/1", b"replay/2", 1))
    with pytest.raises(ArtifactVersion, match="format must be mast-edge/replay/1; got mast-edge/replay/2"):
        load_replay(path)
