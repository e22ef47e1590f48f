"""The c runtime: what is particular to it. The contract of all backends is in `test_backends.py`."""

import json

import numpy as np
import pytest

from mast_edge.c_contract import CONTRACT_FILE, CContract
from mast_edge.c_library import FLAGS
from mast_edge.contract import AgentContract
from mast_edge.errors import ArtifactSelfTest, EnvironmentUnavailable
from mast_edge.export.c_source import c_files
from mast_edge.fixed_point import HIDDEN_SHIFT
from mast_edge.runtime import Agent
from mast_edge.runtime.backends.c_ import CBackend
from tests.agents import MAP_3M, TINY, env_of
from tests.c_builds import compiled, random_layers, some_compiler

PRECISIONS = ["f32", "int8"]


def write_export(folder, precision, change=None):
    """An export of a random agent; `change(files)` damages it and keeps the digests right."""
    files = c_files(TINY, random_layers(TINY, 0.8, precision), "tiny")
    if change is not None:
        change(files)
    shift, tolerance = (11, 0.0) if precision == "int8" else (None, 1e-5)
    contract = AgentContract.of(TINY, env_of(TINY))
    about = CContract(contract, "tiny", precision, shift, tolerance, {"a": 1})
    for name, data in {**files, CONTRACT_FILE: about.to_bytes(files)}.items():
        (folder / name).write_bytes(data)
    return folder


def replaced(name, old, new):
    def change(files):
        assert files[name].count(old) == 1
        files[name] = files[name].replace(old, new)

    return change


@pytest.mark.parametrize("precision", PRECISIONS)
def test_an_export_is_loaded_from_its_source_or_its_folder(tmp_path, precision):
    some_compiler()
    folder = write_export(tmp_path, precision)
    models = [CBackend.load(path) for path in (folder, folder / "tiny.c")]
    assert models[0].sha256 == models[1].sha256
    assert models[0].contract.spec == TINY
    assert models[0].provenance == {"a": 1}
    assert models[0].path_taken.startswith("c: float32" if precision == "f32" else "c: integers, fc1 Q11")
    assert models[0].path_taken.endswith(" ".join(FLAGS))


@pytest.mark.parametrize(
    ("precision", "name", "old", "new"),
    [
        ("f32", "tiny.c", b"p = p * u + 0.13124521f;", b"p = p * u + 0.13224521f;"),
        ("f32", "tiny.c", b"update = tiny_sigmoid(in[TINY_HIDDEN_DIM]", b"update = tiny_sigmoid(in[0]"),
        ("int8", "tiny.c", b"((product + 16384) >> 15)", b"(product >> 15)"),
        ("int8", "tiny_selftest.c", b"right = 0;", b"right = -1;"),
    ],
)
def test_c_that_computes_wrongly_is_refused(tmp_path, precision, name, old, new):
    some_compiler()
    folder = write_export(tmp_path, precision, replaced(name, old, new))
    with pytest.raises(ArtifactSelfTest, match=r"tiny\.c .*self test must give 8 right actions"):
        CBackend.load(folder)


def test_without_a_compiler_the_runtime_is_not_available(tmp_path, monkeypatch):
    folder = write_export(tmp_path, "f32")
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CC", raising=False)
    with pytest.raises(EnvironmentUnavailable, match="C compiler must be installed"):
        CBackend.load(folder)


@pytest.mark.parametrize("precision", PRECISIONS)
def test_a_step_of_many_is_as_many_acts(precision):
    """To the bit: hidden state, Q and action, in both variants."""
    model = compiled(MAP_3M, random_layers(MAP_3M, 0.9, precision), precision)
    agent = Agent(model)
    ids = [2, 0, 1, 0]
    team, states = [agent.clone(agent_id) for agent_id in ids], agent.states(ids)
    rng = np.random.default_rng(5)
    for _ in range(10):
        obs = rng.uniform(-1, 1, (4, 30)).astype(np.float32)
        avail = (rng.random((4, 9)) < 0.7).astype(np.uint8)
        avail[:, 0] = 1
        actions = agent.act_many(obs, avail, states)
        assert actions.tolist() == [one.act(obs[i], avail[i]) for i, one in enumerate(team)]
        np.testing.assert_array_equal(states.hidden, np.stack([one.get_state().hidden for one in team]))
        np.testing.assert_array_equal(states.q, np.stack([one.last_q for one in team]))


def test_states_of_the_integer_variant_are_exact_in_floats():
    model = compiled(TINY, random_layers(TINY, 0.8, "int8"), "int8")
    agent, twin = Agent(model), Agent(model)
    obs, avail = np.linspace(-1, 1, 7).astype(np.float32), np.ones(5, np.uint8)
    for _ in range(5):
        agent.act(obs, avail)
    state = agent.get_state()
    assert (state.hidden * 2**HIDDEN_SHIFT == np.rint(state.hidden * 2**HIDDEN_SHIFT)).all()
    twin.set_state(state)
    np.testing.assert_array_equal(twin.get_state().hidden, state.hidden)
    assert twin.act(obs, avail) == agent.act(obs, avail)
    np.testing.assert_array_equal(twin.last_q, agent.last_q)


def test_conversions_by_hand():
    model = compiled(TINY, random_layers(TINY, 0.8, "int8"), "int8")
    hidden = np.array([0, 0.5, -1, 1, 2**-15, 0.4 * 2**-15, -3], np.float32)
    stored = model.stored(hidden)
    assert stored.tolist() == [0, 16384, -32768, 32767, 1, 0, -32768]
    states, q = model.floats(stored, np.array([65536, -32768, 1], np.int32))
    assert states.tolist() == [0, 0.5, -1, 1 - 2**-15, 2**-15, 0, -1]
    assert q.tolist() == [1.0, -0.5, 2**-16]


def test_cells_have_their_own_state_and_share_the_tables():
    model = compiled(TINY, random_layers(TINY, 0.8, "f32"), "f32")
    one, two = model.cell(0), model.cell(1)
    assert one.act(np.ones(7, np.float32), np.ones(5, np.uint8), True) == one.last_action
    assert (two.last_action, two.agent_id) == (-1, 1)
    hidden, q = np.empty(8, np.float32), np.empty(5, np.float32)
    two.read(hidden, q)
    assert not hidden.any()
    assert not q.any()
    one.reset()
    one.read(hidden, q)
    assert (one.last_action, one.agent_id) == (-1, 0)
    assert not hidden.any()


def test_no_agents_need_no_step():
    model = compiled(TINY, random_layers(TINY, 0.8, "f32"), "f32")
    none = np.zeros(0, np.int64)
    model.step_many(
        np.zeros((0, 7), np.float32), none, none, np.zeros((0, 8), np.float32), np.zeros((0, 5), np.float32)
    )


def test_the_contract_is_text_that_others_can_read(tmp_path):
    found = json.loads((write_export(tmp_path, "int8") / CONTRACT_FILE).read_bytes())
    assert (found["contract"]["obs_dim"], found["precision"], found["fc1_shift"]) == (7, "int8", 11)
