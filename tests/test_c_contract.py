"""`contract.json` beside exported C: what it says is checked before any C is compiled."""

import json

import pytest

from mast_edge.c_contract import CContract, read_c_export
from mast_edge.contract import AgentContract
from mast_edge.errors import (
    ArtifactCorrupt,
    ArtifactInconsistent,
    ArtifactMalformed,
    ArtifactTooLarge,
    ArtifactVersion,
    MissingInput,
)
from tests.agents import TINY, env_of

FILES = {"agent.h": b"/* h */", "agent.c": b"/* c */", "agent_selftest.c": b"/* t */"}
FOUND = CContract(AgentContract.of(TINY, env_of(TINY)), "agent", "int8", 11, 0.0, {"algorithm": "qmix"})


@pytest.fixture
def folder(tmp_path):
    for name, data in {**FILES, "contract.json": FOUND.to_bytes(FILES)}.items():
        (tmp_path / name).write_bytes(data)
    return tmp_path


def edited(folder, **changes):
    fields = {**json.loads((folder / "contract.json").read_bytes()), **changes}
    (folder / "contract.json").write_text(json.dumps(fields))


def test_it_comes_back_from_the_folder_and_from_the_source(folder):
    for path in (folder, folder / "agent.c"):
        assert read_c_export(path) == (FOUND, FILES)


@pytest.mark.parametrize("name", ["agent.h", "agent.c", "agent_selftest.c"])
def test_every_file_is_covered_by_a_digest(folder, name):
    data = (folder / name).read_bytes()
    (folder / name).write_bytes(data[:-1] + b"!")
    with pytest.raises(ArtifactCorrupt, match=rf"{name}: file must have SHA-256"):
        read_c_export(folder)
    (folder / name).unlink()
    with pytest.raises(MissingInput, match="export --format c"):
        read_c_export(folder)


def test_other_files_are_not_exported_c(folder):
    for path in ("agent.h", "other.c", "nothing/agent.c", "x.onnx"):
        with pytest.raises(MissingInput, match="the c runtime must be given"):
            read_c_export(folder / path)
    (folder / "contract.json").unlink()
    with pytest.raises(MissingInput, match=r"contract\.json"):
        read_c_export(folder)


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"format": "mast-edge/agent"}, ArtifactVersion, "format must be mast-edge/c 1"),
        ({"format_version": 2}, ArtifactVersion, "got 'mast-edge/c' 2"),
        ({"more": 1}, ArtifactMalformed, "fields must be"),
        ({"prefix": "../agent"}, ArtifactMalformed, "prefix must be a C identifier"),
        ({"prefix": "agent\n"}, ArtifactMalformed, "prefix must be"),
        ({"prefix": 3}, ArtifactMalformed, "prefix must be"),
        ({"precision": "int4"}, ArtifactMalformed, "precision must be one of f32, int8"),
        ({"precision": []}, ArtifactMalformed, "precision must be"),
        ({"fc1_shift": None}, ArtifactMalformed, "fc1_shift must be an integer for int8"),
        ({"precision": "f32"}, ArtifactMalformed, "null for f32"),
        ({"tolerance": -1}, ArtifactMalformed, "tolerance must be"),
        ({"tolerance": True}, ArtifactMalformed, "tolerance must be"),
        ({"provenance": []}, ArtifactMalformed, "provenance must be an object"),
        ({"contract": {}}, ArtifactMalformed, "contract must hold"),
        ({"files": {"agent.c": "00"}}, ArtifactInconsistent, "files must be agent.h"),
        ({"files": []}, ArtifactInconsistent, "files must be"),
        ({"prefix": "other"}, ArtifactInconsistent, "files must be other.h"),
    ],
)
def test_fields_that_are_wrong_are_refused(folder, changes, error, message):
    edited(folder, **changes)
    with pytest.raises(error, match=message):
        read_c_export(folder)


@pytest.mark.parametrize("text", ["", "[]", "{", '{"a": 1, "a": 2}', '{"a": NaN}'])
def test_what_is_no_strict_json_is_refused(folder, text):
    (folder / "contract.json").write_text(text)
    with pytest.raises(ArtifactMalformed, match="content must be"):
        read_c_export(folder)


def test_a_contract_larger_than_any_is_refused(folder):
    (folder / "contract.json").write_bytes(b" " * (2**20 + 1))
    with pytest.raises(ArtifactTooLarge, match="at most 1048576 bytes"):
        read_c_export(folder)
