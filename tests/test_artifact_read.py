"""Damaged and hostile artifacts: every one refused, with the error that the format's table names."""

import json
import struct

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mast_edge.artifact import build_artifact, digest_of, seal
from mast_edge.artifact_header import Tensor
from mast_edge.artifact_read import parse_artifact, read_artifact
from mast_edge.artifact_tables import expect_number_of_weights
from mast_edge.contract import AgentContract
from mast_edge.errors import (
    ArtifactContract,
    ArtifactCorrupt,
    ArtifactInconsistent,
    ArtifactMalformed,
    ArtifactRefused,
    ArtifactSelfTest,
    ArtifactTooLarge,
    ArtifactValue,
    ArtifactVersion,
    MissingInput,
)
from mast_edge.spec import AgentSpec
from tests.agents import TINY, env_of, random_agent
from tests.hostile import opened, put

SMALL = AgentSpec(obs_dim=2, n_actions=2, n_agents=1, hidden_dim=4)


def built(spec=TINY, sparsity=0.8, pattern="element", precision="f32"):
    weights, masks = random_agent(spec, sparsity, pattern=pattern)
    contract = AgentContract.of(spec, env_of(spec))
    return build_artifact(contract, weights, masks, {"mast_edge": "0.1.0"}, precision)


def resealed(tensors, metadata):
    """Seals altered content with all digests made right again."""
    metadata = {**metadata, "sections": {name: digest_of(table) for name, table in tensors.items()}}
    metadata.pop("file_sha256", None)
    return seal(tensors, metadata)


def repacked(header_text, body):
    raw = header_text.encode()
    return struct.pack("<Q", len(raw)) + raw + body


def test_every_flipped_bit_is_found():
    data = built(SMALL, 0.5)
    parse_artifact("x", data)
    damaged = bytearray(data)
    for at in range(len(data)):
        for bit in range(8) if at < 64 or at % 9 == 0 else (at % 8,):
            damaged[at] ^= 1 << bit
            with pytest.raises(ArtifactRefused):
                parse_artifact("x", bytes(damaged))
            damaged[at] ^= 1 << bit


@pytest.mark.slow
def test_every_flipped_bit_is_found_without_exception():
    data = built(SMALL, 0.5)
    damaged = bytearray(data)
    for bit in range(8 * len(data)):
        damaged[bit // 8] ^= 1 << bit % 8
        with pytest.raises(ArtifactRefused):
            parse_artifact("x", bytes(damaged))
        damaged[bit // 8] ^= 1 << bit % 8


def test_every_truncation_and_any_addition_is_found():
    data = built(SMALL, 0.5)
    for length in range(len(data)):
        with pytest.raises(ArtifactRefused):
            parse_artifact("x", data[:length])
    with pytest.raises(ArtifactMalformed):
        parse_artifact("x", data + b"\0")


def test_damage_names_the_section_or_the_file(tmp_path):
    data = bytearray(built())
    data[-1] ^= 1
    (tmp_path / "a.safetensors").write_bytes(data)
    with pytest.raises(ArtifactCorrupt, match=r"a\.safetensors: file must have SHA-256"):
        read_artifact(tmp_path / "a.safetensors")
    tensors, metadata = opened(built())
    altered = {**tensors, "fc2.bias": tensors["fc2.bias"] + 1}
    metadata.pop("file_sha256")
    with pytest.raises(ArtifactCorrupt, match=r"fc2\.bias"):
        parse_artifact("x", seal(altered, metadata))


def test_missing_and_too_large_files(tmp_path):
    with pytest.raises(MissingInput, match="mast-edge export"):
        read_artifact(tmp_path / "none.safetensors")
    huge = tmp_path / "huge.safetensors"
    with huge.open("wb") as file:
        file.truncate(64 * 2**20 + 1)
    with pytest.raises(ArtifactTooLarge):
        read_artifact(huge)


def shell():
    data = built()
    length = struct.unpack("<Q", data[:8])[0]
    return data[8 : 8 + length].decode().rstrip(), data[8 + length :]


@pytest.mark.parametrize(
    ("alter", "message"),
    [
        (lambda h: h[:-1] + ',"fc1.bias":{"dtype":"F32","shape":[8],"data_offsets":[0,32]}}', "given twice"),
        (lambda h: h[:-1] + ',"x":' + "[" * 40 + "]" * 40 + "}", "nested at most 32"),
        (lambda h: h[:-1] + ',"x":' + "[" * 200_000 + "]" * 200_000 + "}", "at most 16384 values"),
        (lambda h: h[:-1] + ',"x":[' + "{}," * 20_000 + "{}]}", "at most 16384 values"),
        (
            lambda h: h[:-1] + ',"x":{"dtype":"F32","shape":[],"data_offsets":[0,4]}}',
            "without hole or overlap",
        ),
        (lambda h: h[:-1] + ',"x":{"dtype":"F64","shape":[0],"data_offsets":[0,0]}}', "dtype"),
        (
            lambda h: h[:-1] + ',"x":{"dtype":"F32","shape":[-1],"data_offsets":[0,-4]}}',
            "sizes inside the file",
        ),
        (
            lambda h: h[:-1] + ',"x":{"dtype":"F32","shape":[1e3],"data_offsets":[0,4]}}',
            "sizes inside the file",
        ),
        (
            lambda h: h[:-1] + ',"x":{"dtype":"F32","shape":[true],"data_offsets":[0,4]}}',
            "sizes inside the file",
        ),
        (lambda h: h[:-1] + ',"x":{"dtype":"F32","shape":[99999999999999999999]}}', "digits"),
        (lambda h: h[:-1] + ',"x":NaN}', "NaN"),
        (lambda h: h[:-1] + ',"x":1e999}', "1e999"),
        (lambda h: h.replace('"mast_edge":', '"mast_edgy":', 1), "__metadata__"),
        (lambda h: "[]", "JSON object"),
        (lambda h: h[:-2], "strict JSON"),
    ],
)
def test_headers_made_to_harm(alter, message):
    text, body = shell()
    with pytest.raises(ArtifactMalformed, match=message):
        parse_artifact("x", repacked(alter(text), body))


def test_a_header_longer_than_the_file_or_the_limit():
    for length in (0, 1, 2**20 + 1, 2**63, 2**64 - 1):
        with pytest.raises(ArtifactMalformed, match="header length"):
            parse_artifact("x", struct.pack("<Q", length) + b"{}" * 600_000)


def changed(name, change):
    def alter(tensors, metadata):
        tensors[name] = change(tensors[name])

    return alter


def described(*path, value):
    def alter(tensors, metadata):
        place = metadata
        for key in path[:-1]:
            place = place[key]
        place[path[-1]] = value

    return alter


def dropped(name):
    return lambda tensors, metadata: tensors.pop(name)


def added(tensors, metadata):
    tensors["extra"] = np.zeros(3, np.float32)


@pytest.mark.parametrize(
    ("alter", "error", "message"),
    [
        (described("format_version", value=3), ArtifactVersion, "written by mast-edge '0.1.0'"),
        (described("format_version", value=1), ArtifactCorrupt, "fc1"),
        (described("precision", value="f16"), ArtifactMalformed, "precision must be one of f32, int8"),
        (described("precision", value="int8"), ArtifactMalformed, "scale"),
        (described("sparsity", "layers", "fc1", "pattern", value="8x1"), ArtifactMalformed, "pattern"),
        (described("format_version", value=True), ArtifactVersion, "mast-edge/agent"),
        (described("format", value="other"), ArtifactVersion, "other"),
        (described("extra", value=1), ArtifactMalformed, "metadata must hold"),
        (added, ArtifactMalformed, "extra"),
        (dropped("golden.q"), ArtifactMalformed, "golden.q"),
        (described("sparsity", "layers", "fc1", "kind", value="dense"), ArtifactMalformed, "fc1"),
        (described("sparsity", "layers", "fc1", "kind", value=["csr"]), ArtifactMalformed, "kind"),
        (described("sparsity", "layers", value={}), ArtifactMalformed, "sparsity"),
        (changed("fc1.values", lambda t: t.astype(np.uint32)), ArtifactMalformed, "fc1.values must be F32"),
        (changed("fc1.indices", lambda t: t.astype(np.float32)), ArtifactMalformed, "unsigned"),
        (
            changed("fc1.indices", lambda t: t.astype(np.uint32)),
            ArtifactInconsistent,
            "fc1.indices must be U8",
        ),
        (
            changed("fc1.indptr", lambda t: t.astype(np.uint32)),
            ArtifactInconsistent,
            "fc1.indptr must be U16",
        ),
        (described("contract", "obs_dim", value=0), ArtifactInconsistent, "obs_dim"),
        (described("contract", "obs_dim", value=65537), ArtifactInconsistent, "obs_dim"),
        (described("contract", "obs_dim", value=8), ArtifactInconsistent, "input_dim"),
        (described("contract", "hidden_dim", value=65536), ArtifactInconsistent, "must be F32"),
        (described("contract", "hidden_dim", value=8.0), ArtifactInconsistent, "hidden_dim"),
        (described("contract", "gates", value="zrn"), ArtifactMalformed, "gates"),
        (described("contract", value=[]), ArtifactMalformed, "contract"),
        (described("env", "map", value=""), ArtifactMalformed, "map"),
        (described("env", "features", value=True), ArtifactMalformed, "features"),
        (described("env", "episode_limit", value=-1), ArtifactInconsistent, "episode_limit"),
        (changed("fc1.bias", lambda t: t[:-1]), ArtifactInconsistent, "fc1.bias"),
        (changed("fc1.values", lambda t: t[None]), ArtifactInconsistent, "fc1.values"),
        (changed("fc1.values", lambda t: t[:-1]), ArtifactInconsistent, "fc1.indices must be"),
        (changed("fc1.indptr", lambda t: put(t, 0, 1)), ArtifactInconsistent, "rise from 0"),
        (changed("fc1.indptr", lambda t: put(t, -1, t[-1] + 1)), ArtifactInconsistent, "rise from 0"),
        (changed("fc1.indptr", lambda t: put(t, 3, 60000)), ArtifactInconsistent, "falling"),
        (changed("fc1.indices", lambda t: put(t, 0, 255)), ArtifactInconsistent, "below 15"),
        (changed("fc1.indices", lambda t: np.zeros_like(t)), ArtifactInconsistent, "rise inside a row"),
        (changed("fc1.values", lambda t: put(t, 2, np.nan)), ArtifactValue, "fc1.values must be finite"),
        (changed("fc2.bias", lambda t: put(t, 0, np.inf)), ArtifactValue, "fc2.bias"),
        (
            changed("fc2.bias", lambda t: put(t, 0, 3e38)),
            ArtifactValue,
            "fc2.bias must be .* within .-1048576",
        ),
        (changed("fc1.values", lambda t: put(t, 0, -1048577)), ArtifactValue, "got -1048577"),
        (changed("golden.q", lambda t: put(t, 0, np.inf)), ArtifactValue, "golden.q"),
        (described("sparsity", "total", value=0.5), ArtifactInconsistent, "sparsity"),
        (described("sparsity", "layers", "fc1", "nnz", value=3), ArtifactInconsistent, "sparsity"),
        (described("sparsity", "total", value=True), ArtifactInconsistent, "sparsity"),
        (described("provenance", value="\x1b[2J\n" * 1000), ArtifactMalformed, "provenance"),
        (described("contract", "gates", value="\x1b[2J\n\u202e"), ArtifactMalformed, r"got '\\x1b\[2J"),
        (described("format", value={"a": ["b" * 500] * 500}), ArtifactVersion, "format must be"),
        (described("provenance", value="me"), ArtifactMalformed, "provenance"),
        (described("golden", "actions", value=[0] * 7), ArtifactInconsistent, "8 actions"),
        (described("golden", "actions", value=[5] * 8), ArtifactInconsistent, "8 actions"),
        (described("golden", "actions", value=[-1] * 8), ArtifactInconsistent, "8 actions"),
        (changed("golden.q", lambda t: t + 1), ArtifactSelfTest, "golden step 0"),
        (changed("gru_hh.values", lambda t: -t), ArtifactSelfTest, "golden step"),
    ],
)
def test_hostile_content_with_right_digests(alter, error, message):
    tensors, metadata = opened(built())
    alter(tensors, metadata)
    with pytest.raises(error, match=message) as caught:
        parse_artifact("x", resealed(tensors, metadata))
    assert type(caught.value) is error
    assert str(caught.value).isprintable()


BLOCKS = AgentSpec(obs_dim=7, n_actions=11, n_agents=3, hidden_dim=20)
"""Short groups at the end of every gate and of fc2."""


def reshaped(*shape):
    return lambda table: table.reshape(shape)


@pytest.mark.parametrize(
    ("alter", "error", "message"),
    [
        (
            changed("fc1.blocks", lambda t: put(t, -1, 1)),
            ArtifactValue,
            "fc1.blocks must be 0 in rows beyond",
        ),
        (changed("fc1.blocks", reshaped(-1)), ArtifactInconsistent, "fc1.blocks"),
        (changed("fc1.blocks", reshaped(-1, 4)), ArtifactInconsistent, "fc1.blocks"),
        (changed("fc1.bcols", lambda t: put(t, 0, 250)), ArtifactInconsistent, "below 21"),
        (changed("fc1.bcols", lambda t: np.zeros_like(t)), ArtifactInconsistent, "rise inside"),
        (changed("fc1.bptr", lambda t: t[:-1]), ArtifactInconsistent, "fc1.bptr"),
        (changed("fc1.bptr", lambda t: put(t, 1, 60000)), ArtifactInconsistent, "falling"),
        (changed("fc1.blocks", lambda t: t.astype(np.float32)), ArtifactMalformed, "fc1.blocks must be I8"),
        (changed("fc1.scale", lambda t: put(t, 3, 0)), ArtifactValue, "fc1.scale must be above 0"),
        (changed("fc1.scale", lambda t: put(t, 3, -1)), ArtifactValue, "fc1.scale must be above 0"),
        (changed("fc1.scale", lambda t: put(t, 3, np.nan)), ArtifactValue, "fc1.scale must be finite"),
        (changed("fc1.scale", lambda t: 2 * t), ArtifactSelfTest, "golden step"),
        (described("sparsity", "layers", "fc1", "pattern", value="16x1"), ArtifactMalformed, "4x1"),
        (described("sparsity", "layers", "fc1", "pattern", value="4x1"), ArtifactInconsistent, "fc1.blocks"),
        (described("contract", "hidden_dim", value=7), ArtifactInconsistent, "fc1"),
        (dropped("fc1.scale"), ArtifactMalformed, "fc1.scale"),
    ],
)
def test_hostile_blocks_and_scales_with_right_digests(alter, error, message):
    tensors, metadata = opened(built(BLOCKS, 0.7, "8x1", "int8"))
    alter(tensors, metadata)
    with pytest.raises(error, match=message) as caught:
        parse_artifact("x", resealed(tensors, metadata))
    assert type(caught.value) is error


def test_weights_are_counted_before_any_is_read():
    """4,194,304 in all; biases, scales, columns and pointers do not count."""
    tensors = {
        "fc1.dense": Tensor("I8", (1024, 2048), 0, 0),
        "gru_ih.blocks": Tensor("F32", (2**17, 8), 0, 0),
        "gru_hh.values": Tensor("F32", (2**20,), 0, 0),
        "gru_hh.indices": Tensor("U16", (2**20,), 0, 0),
        "fc1.bias": Tensor("F32", (1024,), 0, 0),
    }
    expect_number_of_weights("x", tensors)
    with pytest.raises(ArtifactTooLarge, match="x: tables must hold at most 4194304 weights; got 4194305"):
        expect_number_of_weights("x", tensors | {"fc2.values": Tensor("F32", (1,), 0, 0)})


def test_two_digest_slots_are_refused():
    tensors, metadata = opened(built())
    metadata["provenance"] = {"file_sha256": "0" * 64}
    with pytest.raises(ArtifactMalformed, match="one file_sha256"):
        parse_artifact("x", resealed(tensors, metadata))


def test_an_agent_for_another_map_is_refused():
    contract = AgentContract.of(TINY, env_of(TINY))
    contract.require("x", env_of(TINY))
    with pytest.raises(ArtifactContract, match="trained on this map"):
        contract.require("x", env_of(SMALL))


@settings(max_examples=200, deadline=None)
@given(data=st.data())
def test_no_random_damage_passes(data):
    good = built(SMALL, 0.5)
    damaged = bytearray(good)
    for at, byte in data.draw(
        st.lists(st.tuples(st.integers(0, len(good) - 1), st.integers(0, 255)), min_size=1, max_size=8)
    ):
        damaged[at] = byte
    if bytes(damaged) != good:
        with pytest.raises(ArtifactRefused):
            parse_artifact("x", bytes(damaged))


@given(st.binary(max_size=200))
def test_noise_is_refused(noise):
    with pytest.raises(ArtifactRefused):
        parse_artifact("x", noise)
    with pytest.raises(ArtifactRefused):
        parse_artifact("x", struct.pack("<Q", len(noise)) + noise)


def test_wide_hostile_sizes_stay_cheap():
    """65,536-wide layers in a small file: dense weights would take 100 GB; reading must not."""
    import tracemalloc

    spec = AgentSpec(obs_dim=65_000, n_actions=300, n_agents=2, hidden_dim=2_000)
    tensors = {"golden.q": np.zeros((8, 300), np.float32)}
    layers = {}
    for name, (rows, cols) in spec.layer_shapes().items():
        tensors[f"{name}.values"] = np.zeros(0, np.float32)
        tensors[f"{name}.indices"] = np.zeros(
            0, np.uint8 if cols <= 256 else np.uint16 if cols <= 65536 else np.uint32
        )
        tensors[f"{name}.indptr"] = np.zeros(rows + 1, np.uint16)
        tensors[f"{name}.bias"] = np.zeros(rows, np.float32)
        layers[name] = {"shape": [rows, cols], "kind": "csr", "pattern": "element", "nnz": 0, "density": 0.0}
        layers[name]["bytes"] = 6 * rows + 2
    contract = AgentContract(spec, "3m", "skirmish", 60)
    inputs = [step % 300 for step in range(8)]
    metadata = {
        "format": "mast-edge/agent",
        "format_version": 2,
        "precision": "f32",
        "contract": contract.contract_json(),
        "env": contract.env_json(),
        "sparsity": {"total": 1.0, "layers": layers},
        "provenance": {},
        "golden": {"actions": inputs},
    }
    data = resealed(tensors, metadata)
    tracemalloc.start()
    artifact = parse_artifact("x", data)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 4 * len(data) + 16 * 2**20
    with pytest.raises(ArtifactTooLarge, match="dense weights"):
        artifact.dense_weights()
    assert json.dumps(artifact.metadata)
