"""Artifacts altered anywhere, all digests made right again: refused in one line, or sound and able to play.

MAST_EDGE_EXAMPLES sets how many are tried by the slow test.
"""

import hashlib
import json
import os
import struct
import time
import tracemalloc
import warnings
from collections import Counter
from dataclasses import replace
from functools import cache

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mast_edge.artifact import build_artifact
from mast_edge.artifact_read import read_artifact
from mast_edge.contract import AgentContract
from mast_edge.errors import ArtifactRefused
from mast_edge.layers import layers_of
from mast_edge.runtime import Agent
from mast_edge.spec import AgentSpec
from tests.agents import env_of, random_agent
from tests.hostile import opened, put, sealed

FORMS = [
    (AgentSpec(obs_dim=2, n_actions=2, n_agents=1, hidden_dim=4), 0.5, "element", "f32"),
    (AgentSpec(obs_dim=7, n_actions=11, n_agents=3, hidden_dim=20), 0.7, "8x1", "f32"),
    (AgentSpec(obs_dim=7, n_actions=11, n_agents=3, hidden_dim=20), 0.7, "4x1", "int8"),
    (AgentSpec(obs_dim=3, n_actions=4, n_agents=2, hidden_dim=5), 0.0, "element", "int8"),
]
MEMORY = 16 * 2**20
SECONDS = 2.0
NUMBERS = [
    0,
    1,
    -1,
    2,
    8,
    255,
    256,
    65_535,
    65_536,
    65_537,
    2**31,
    2**32 - 1,
    2**53,
    10**15,
    10**40,
    -(2**63),
]
NUMBERS += [0.5, -0.0, 1e-45, 1e308, float("nan"), float("inf"), 1.0, 2.0]  # type: ignore[list-item]
WORDS = ["", "csr", "dense", "block", "element", "4x1", "8x1", "f32", "int8", "F32", "I8", "U8", "U16", "U32"]
WORDS += [
    "BF16",
    "fc1",
    "fc1.bias",
    "__metadata__",
    "obs",
    "0" * 64,
    "x" * 300,
    "\0",
    "\n\x1b[31m",
    "\u202e",
    "\U0001f40d",
]
scalars = st.none() | st.booleans() | st.sampled_from(NUMBERS) | st.sampled_from(WORDS) | st.text(max_size=4)
anything = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(WORDS), inner, max_size=3),
    max_leaves=6,
)


@cache
def good(form):
    """The bytes of a good artifact, and its layers."""
    spec, sparsity, pattern, precision = form
    weights, masks = random_agent(spec, sparsity, pattern=pattern)
    data = build_artifact(
        AgentContract.of(spec, env_of(spec)), weights, masks, {"mast_edge": "0.1.0"}, precision
    )
    return data, layers_of(weights, masks, precision)


def base(form):
    """Its tensors and metadata, to be altered."""
    return opened(good(form)[0])


def packed(tensors, metadata, alter_entries, alter_text):
    """The file with every digest right; the alterations see header entries and texts before that."""
    codes = {"float32": "F32", "int8": "I8", "uint8": "U8", "uint16": "U16", "uint32": "U32"}
    body, entries, digests = b"", {}, {}
    for name, table in tensors.items():
        raw = np.ascontiguousarray(table).tobytes()
        offsets = [len(body), len(body) + len(raw)]
        entries[name] = {
            "dtype": codes[table.dtype.name],
            "shape": list(table.shape),
            "data_offsets": offsets,
        }
        digests[name] = hashlib.sha256(raw).hexdigest()
        body += raw
    metadata = {"sections": digests, **metadata, "file_sha256": "0" * 64}
    alter_entries(entries)
    text = alter_text(json.dumps(metadata, separators=(",", ":")))
    entries["__metadata__"] = {"mast_edge": text}
    header = json.dumps(entries).encode()
    whole = struct.pack("<Q", len(header)) + header + body
    return whole.replace(b"0" * 64, hashlib.sha256(whole).hexdigest().encode(), 1)


def places(node, path=()):
    """Paths to every value inside JSON."""
    found = [path] if path else []
    items = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
    for key, value in items:
        found += places(value, (*path, key))
    return found


def set_at(node, path, value):
    for key in path[:-1]:
        node = node[key]
    node[path[-1]] = value


def number_for(dtype):
    if dtype == np.float32:
        return st.floats(width=32) | st.sampled_from(
            [0.0, -0.0, 3.4e38, -3.4e38, 1e-45, 2.0**20, 2.0**20 + 1]
        )
    limits = np.iinfo(dtype)
    return st.integers(limits.min, limits.max) | st.sampled_from([limits.min, limits.max, 0, 1])


def alter_tensor(draw, tensors):
    name = draw(st.sampled_from(sorted(tensors)))
    table = tensors[name]
    what = draw(st.sampled_from(["entry", "cut", "grow", "dtype", "shape", "swap", "drop", "add", "fill"]))
    if what == "entry" and table.size:
        tensors[name] = put(table, draw(st.integers(0, table.size - 1)), draw(number_for(table.dtype)))
    elif what == "fill":
        tensors[name] = np.full_like(table, draw(number_for(table.dtype)))
    elif what == "cut":
        tensors[name] = table.reshape(-1)[: draw(st.integers(0, table.size))].copy()
    elif what == "grow":
        tensors[name] = np.concatenate([table, table[: draw(st.integers(1, 3))]])
    elif what == "dtype":
        dtype = draw(st.sampled_from([np.int8, np.uint8, np.uint16, np.uint32, np.float32]))
        with np.errstate(invalid="ignore"):
            tensors[name] = table.astype(dtype)
    elif what == "shape":
        tensors[name] = table.reshape(draw(st.sampled_from([(1, -1), (-1, 1), (-1,)])))
    elif what == "swap":
        other = draw(st.sampled_from(sorted(tensors)))
        tensors[name], tensors[other] = tensors[other], table
    elif what == "drop":
        del tensors[name]
    elif what == "add":
        tensors[draw(st.sampled_from(WORDS))] = table


def alter_metadata(draw, metadata):
    what = draw(st.sampled_from(["value", "value", "drop", "add"]))
    path = draw(st.sampled_from(places(metadata)))
    if what == "value":
        set_at(metadata, path, draw(anything))
    elif what == "add":
        metadata[draw(st.sampled_from(WORDS))] = draw(anything)
    else:
        metadata.pop(path[0], None)


def alter_entries(draw, entries):
    if entries:
        name = draw(st.sampled_from(sorted(entries)))
        set_at(entries, (name, *draw(st.sampled_from(places(entries[name])))), draw(anything))


def alter_text(draw, text):
    at = draw(st.integers(0, len(text)))
    inserted = draw(st.sampled_from([*'{}[]",:0-.e', "\\u0000", "\\", '"format":1,', "NaN", " ", "é"]))
    return text[:at] + inserted + text[at + draw(st.integers(0, 2)) :]


@st.composite
def other_weights(draw):
    """Golden steps and claims that fit weights, biases and scales as they become."""
    form = draw(st.sampled_from(FORMS))
    layers = {}
    for name, layer in good(form)[1].items():
        part = "weight" if layer.kind == "dense" else "values"
        changes = {}
        for section in draw(st.sets(st.sampled_from([part, "bias", "scale"]), max_size=2)):
            table = getattr(layer, section)
            if table is not None and table.size:
                at = draw(st.integers(0, table.size - 1))
                changes[section] = put(table, at, draw(number_for(table.dtype)))
        layers[name] = replace(layer, **changes)
    with np.errstate(all="ignore"), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return sealed(form[0], layers, form[3])


@st.composite
def altered(draw):
    """A few alterations of a good artifact."""
    tensors, metadata = base(draw(st.sampled_from(FORMS)))
    if draw(st.booleans()):
        del metadata["sections"]  # then made right for the tensors as they become
    kinds = draw(st.lists(st.sampled_from(["tensor", "metadata", "entries", "text"]), min_size=1, max_size=3))
    for kind in kinds:
        if kind == "tensor" and tensors:
            alter_tensor(draw, tensors)
        elif kind == "metadata" and metadata:
            alter_metadata(draw, metadata)
    return packed(
        tensors,
        metadata,
        lambda entries: [alter_entries(draw, entries) for kind in kinds if kind == "entries"],
        lambda text: alter_text(draw, text) if "text" in kinds else text,
    )


def plays(agent):
    """Every place in the team, from every last action, on observations at the ends of their range."""
    spec = agent.spec
    everything = np.ones(spec.n_actions, np.uint8)
    for agent_id in range(spec.n_agents):
        agent.reset(agent_id)
        for t in range(2 * spec.n_actions):
            obs = np.full(spec.obs_dim, (-1.0) ** t, np.float32)
            assert 0 <= agent.act(obs, everything) < spec.n_actions
            assert np.isfinite(agent.last_q).all()
            agent.observe_action(t % spec.n_actions)


def load_and_play(path, backend):
    """`loaded`, or the name and message of the refusal."""
    try:
        agent = Agent.load(path, backend=backend)
    except ArtifactRefused as error:
        return type(error).__name__, str(error)
    plays(agent)
    return "loaded", ""


def check(data, path, seen):
    """The property itself."""
    path.write_bytes(data)
    tracemalloc.start()
    begin = time.process_time()
    for backend in ("numpy", "csr"):
        outcome, message = load_and_play(path, backend)
        assert message.isprintable()
        assert len(message) < 1000
        assert not message or message.startswith(str(path))
        seen[outcome] += 1
    assert time.process_time() - begin < SECONDS
    assert tracemalloc.get_traced_memory()[1] < 4 * len(data) + MEMORY
    tracemalloc.stop()


def fuzz(path, examples):
    seen = Counter()

    @settings(
        max_examples=examples,
        deadline=None,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
    )
    @given(altered() | other_weights())
    def trial(data):
        check(data, path, seen)

    try:
        trial()
    finally:
        tracemalloc.stop()
    print(dict(seen))
    return seen


def test_no_altered_artifact_harms(tmp_path):
    seen = fuzz(tmp_path / "agent.safetensors", 120)
    assert len(seen) >= 4


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_no_altered_artifact_harms_in_many_trials(tmp_path):
    seen = fuzz(tmp_path / "agent.safetensors", int(os.environ.get("MAST_EDGE_EXAMPLES", "10000")))
    assert len(seen) >= 6


def test_the_unaltered_ones_play(tmp_path):
    for form in FORMS:
        path = tmp_path / "agent.safetensors"
        path.write_bytes(packed(*base(form), lambda entries: None, lambda text: text))
        read_artifact(path)
        for backend in ("numpy", "csr"):
            plays(Agent.load(path, backend=backend))
