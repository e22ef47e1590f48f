"""The proof on emulated processors: how it reads, compares, counts and skips, and two real targets."""

import json
import struct
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from benchmarks import edge_proof
from benchmarks.edge import measure, targets
from benchmarks.edge.budget import exceeded, load_budget, write_budget
from benchmarks.edge.build import Footprint, deepest_stack, section_sizes, write_recorded
from benchmarks.edge.measure import agreed, executed, parse_outcome
from benchmarks.edge.reference import expected, fnv1a, replayed
from benchmarks.edge.targets import TARGETS, Target
from mast_edge.checkpoint_files import Recorded
from mast_edge.errors import EnvironmentUnavailable, MastEdgeError
from tests.agents import write_checkpoint

BY_NAME = {target.name: target for target in TARGETS}
NOWHERE = Target("nowhere", "no-such-cpu-", (), "qemu-no-such-cpu")
ERROR_BITS = struct.unpack("<I", struct.pack("<f", 0.25))[0]
PRINTED = f"""Timer with period zero, disabling
actions 1 0 -1 4
bits 77
selftest 8 {ERROR_BITS}
stack 512
done
"""


def test_outcome_among_warnings() -> None:
    outcome = parse_outcome("m3", PRINTED, (2, 2))
    assert outcome.actions.tolist() == [[1, 0], [-1, 4]]
    assert (outcome.bits, outcome.selftest, outcome.worst, outcome.stack) == (77, 8, 0.25, 512)
    assert parse_outcome("x86", PRINTED.replace("stack 512", "stack -1"), (2, 2)).stack is None


@pytest.mark.parametrize("line", ["actions", "bits", "selftest", "stack", "done"])
def test_no_outcome_without_every_line(line: str) -> None:
    cut = "\n".join(kept for kept in PRINTED.splitlines() if not kept.startswith(line))
    with pytest.raises(MastEdgeError, match="m3: output must hold"):
        parse_outcome("m3", cut, (2, 2))


def test_no_outcome_of_another_shape() -> None:
    with pytest.raises(MastEdgeError, match="cannot reshape"):
        parse_outcome("m3", PRINTED, (2, 3))


@pytest.mark.parametrize("chunk", [1, 7, 1 << 20])
def test_executed_instructions(chunk: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(measure, "_CHUNK", chunk)
    log = tmp_path / "trace"
    log.write_text(
        "Trace 0: 0x7f [0/0/0/1] reset\n"
        "Trace 0: 0x7f [0/2/0/1] Trace 0: not a line\n"
        "Stopped execution of TB chain before 0x7f [2] reset\n"
        "Trace 0: 0x7f [0/2/0/1] reset\n"
        "cpu_exec: something else\n"
    )
    assert executed(log) == 2


def test_unequal_and_empty_traces_are_refused() -> None:
    assert agreed("m3", [5, 5]) == 5
    for lengths in ([5, 6], [0, 0]):
        with pytest.raises(MastEdgeError, match="equal lengths above 0"):
            agreed("m3", lengths)


def test_sizes_of_sections() -> None:
    listing = """agent.o  :
section               size   addr
.text                  100      0
.data.rel.ro             8      0
.bss                     4      0
.rodata                 30      0
.text.startup           20      0
.rodata.cst4             2      0
.comment              1000      0
.note.GNU-stack          0      0
Total                 1164
"""
    assert section_sizes(listing) == {"text": 120, "rodata": 32, "data": 8, "bss": 4}


GRAPH = """graph: {{ title: "agent.c"
node: {{ title: "agent.c:cell" label: "cell\\nagent.c:3:5\\n100 bytes (static)\\n0 dynamic objects" }}
node: {{ title: "agent.c:row" label: "row\\nagent.c:1:5\\n24 bytes ({row})\\n0 dynamic objects" }}
node: {{ title: "agent_act" label: "agent_act\\nagent.c:9:5\\n16 bytes (static)\\n0 dynamic objects" }}
node: {{ title: "__aeabi_fadd" label: "__aeabi_fadd\\n<built-in>" shape : ellipse }}
edge: {{ sourcename: "agent_act" targetname: "agent.c:row" label: "agent.c:10:1" }}
edge: {{ sourcename: "agent_act" targetname: "agent.c:cell" label: "agent.c:11:1" }}
edge: {{ sourcename: "agent.c:cell" targetname: "agent.c:row" label: "agent.c:4:1" }}
edge: {{ sourcename: "agent.c:row" targetname: "{callee}" label: "agent.c:2:1" }}
}}
"""


def test_stack_of_the_deepest_path() -> None:
    graph = GRAPH.format(row="static", callee="__aeabi_fadd")
    assert deepest_stack(graph, "agent_act") == 16 + 100 + 24
    with pytest.raises(MastEdgeError, match="must be in the call graph"):
        deepest_stack(graph, "other")


def test_stack_without_a_bound_is_refused() -> None:
    with pytest.raises(MastEdgeError, match="must not call itself"):
        deepest_stack(GRAPH.format(row="static", callee="agent.c:cell"), "agent_act")
    with pytest.raises(MastEdgeError, match="frame must be bounded"):
        deepest_stack(GRAPH.format(row="dynamic", callee="__aeabi_fadd"), "agent_act")


def test_faults_of_an_object_file() -> None:
    good = Footprint(1, 1, 0, ["__aeabi_fadd", "__aeabi_llsl", "__muldi3"], 1)
    assert good.faults() == []
    data, symbols = replace(good, own_data=4, undefined=["memset", "__aeabi_memclr", "__divsf3"]).faults()
    assert data == "own data must be 0 bytes; got 4"
    assert symbols == "foreign symbols must be compiler helpers; got memset, __aeabi_memclr"


def test_episodes_that_fit() -> None:
    def rows(*first: int) -> Recorded:
        m = len(first)
        zeros = (np.zeros((m, 2, 3), np.float32), np.ones((m, 2, 4), np.uint8), np.zeros((m, 2), np.int32))
        return Recorded(*zeros, np.array(first, np.uint8))

    per_step = 2 * (3 * 4 + 4) + 1
    recorded = rows(1, 0, 0, 1, 0)
    assert len(edge_proof.shortened(recorded, 5 * per_step).first) == 5
    assert len(edge_proof.shortened(recorded, 5 * per_step - 1).first) == 3
    assert len(edge_proof.shortened(recorded, 3 * per_step).first) == 3
    assert len(edge_proof.shortened(recorded, 2 * per_step).first) == 2


def row(**changes: object) -> dict:
    """A row that proves."""
    same = {"case": "3m@95", "name": "f32", "target": "x86-64", "checkpoint_sha256": "c0ffee", "value": 100.0}
    error = {"worst_q_error": 1e-6, "tolerance": 1e-5}
    found = {"acts": 4, "equal_actions": 4, "reference_actions": 4, "first_difference": None}
    return {**same, **found, "same_bits": True, "selftest": 8, **error, **changes}


def test_differences() -> None:
    other = {"equal_actions": 3, "first_difference": [1, 1]}
    # Floats may round otherwise while actions stay; integers may leave the record, not the reference.
    proven = [row(), row(target="aarch64", same_bits=False), row(name="int8", **other)]
    assert edge_proof.differences(proven) == []
    (recorded,) = edge_proof.differences([row(), row(target="aarch64", **other)])
    assert recorded == (
        "3m@95 f32 on aarch64: actions must be the recorded ones; got 1 others of 4, "
        "the first at step 1, agent 1."
    )
    for changes, others in (({"same_bits": False}, 0), ({"reference_actions": 2}, 2)):
        (reference,) = edge_proof.differences([row(name="int8", **changes)])
        assert reference.startswith("3m@95 int8 on x86-64: hidden states, Q values and actions must be those")
        assert reference.endswith(f"{others} other actions of 4.")
    (selftest,) = edge_proof.differences([row(selftest=7)])
    assert selftest == "3m@95 f32 on x86-64: self test must be right 8 times; got 7."
    for worst in (2e-5, float("nan"), -1.0):
        (off,) = edge_proof.differences([row(worst_q_error=worst)])
        assert off.endswith(f"Q values of the self test must be within 1e-05; got {worst:.3g} off.")


def test_digest() -> None:
    # Published test vectors of 32-bit FNV-1a.
    assert fnv1a(b"") == 0x811C9DC5
    assert fnv1a(b"a") == 0xE40C292C
    assert fnv1a(b"foobar") == fnv1a(b"bar", fnv1a(b"foo")) == 0xBF9CF968


def test_reference_replay() -> None:
    recorded = Recorded(
        np.array([[[1.0], [4.0]], [[2.0], [5.0]], [[3.0], [6.0]]], np.float32),
        np.array([[[1, 1], [1, 1]], [[1, 0], [0, 1]], [[1, 1], [1, 1]]], np.uint8),
        np.zeros((3, 2), np.int32),
        np.array([1, 0, 1], np.uint8),
    )
    seen = []

    def step(obs: np.ndarray, last: np.ndarray, hidden: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        seen.append((obs.ravel().tolist(), last.tolist(), hidden.ravel().tolist()))
        return np.array([[0, 1], [1, 0]]), hidden + 1

    found = replayed(step, recorded, 1, np.int16, np.int32)
    # The second step has one action each; the third begins an episode.
    assert found.actions.tolist() == [[1, 0], [0, 1], [1, 0]]
    assert seen == [([1, 4], [-1, -1], [0, 0]), ([2, 5], [1, 0], [1, 1]), ([3, 6], [-1, -1], [0, 0])]
    acts = [struct.pack("<hii", hidden, *q) for hidden in (1, 2, 1) for q in ((0, 1), (1, 0))]
    assert found.bits == fnv1a(b"".join(acts))


def test_ratios() -> None:
    rows = [row(value=50.0), row(name="dense_f32", value=200.0), row(name="int8", value=None)]
    rows.append(row(name="dense_f32", target="aarch64"))
    edge_proof.add_ratios(rows)
    assert [found["ratios"] for found in rows] == [{"dense_f32": 4.0}, {"f32": 0.25}, {}, {}]


def test_budget(tmp_path: Path) -> None:
    path = tmp_path / "budget.json"
    compilers = {"x86-64": "gcc 12", "aarch64": "gcc 13"}
    assert exceeded(load_budget(path), [row()], compilers) == []
    write_budget({"rows": [row(), row(name="int8", value=None)], "host": {"compilers": compilers}}, path)
    assert json.loads(path.read_text())["c0ffee"]["counts"] == {"x86-64": {"f32": 100.0}}
    budget = load_budget(path)
    assert exceeded(budget, [row(value=110.0), row(value=None)], compilers) == []
    others = [row(value=111.0, **change) for change in ({"target": "aarch64"}, {"name": "int8"})]
    assert exceeded(budget, [*others, row(value=111.0, checkpoint_sha256="other")], compilers) == []
    (over,) = exceeded(budget, [row(value=111.0)], {"x86-64": "gcc 99"})
    assert over.startswith("3m@95 f32 on x86-64: instructions per act must be at most 10 % above 100")
    assert "above 100 (gcc 12); got 111 (gcc 99)" in over


def test_tools_that_are_missing_are_named(capsys: pytest.CaptureFixture[str]) -> None:
    assert NOWHERE.missing() == [
        "no-such-cpu-gcc",
        "no-such-cpu-size",
        "no-such-cpu-nm",
        "qemu-no-such-cpu",
    ]
    assert replace(NOWHERE, native=True).missing()[-1] == "a nowhere processor"
    told: list[str] = []
    with pytest.raises(EnvironmentUnavailable, match="qemu-no-such-cpu") as raised:
        edge_proof.prove([Path("not read")], [NOWHERE], tell=told.append)
    assert raised.value.exit_code == 8
    assert told == [f"skipped nowhere: missing {', '.join(NOWHERE.missing())}"]


def test_one_instruction_at_a_time_in_old_and_new_qemu(monkeypatch: pytest.MonkeyPatch) -> None:
    for text, user, system in (
        ("-singlestep  run in singlestep mode", ("-singlestep",), ("-singlestep",)),
        ("-one-insn-per-tb", ("-one-insn-per-tb",), ("-accel", "tcg,one-insn-per-tb=on")),
    ):
        monkeypatch.setattr(targets, "run", lambda command, text=text: text)
        assert targets.single_step.__wrapped__("qemu", False) == user
        assert targets.single_step.__wrapped__("qemu", True) == system


def test_input_that_is_not_there(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    names = [target.name for target in TARGETS if not target.missing()]
    if not names:
        pytest.skip("no target can run here")
    assert edge_proof.main([str(tmp_path), "--target", names[0]]) == 3
    assert "must hold a complete checkpoint" in capsys.readouterr().err


@pytest.fixture(scope="module")
def agent(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small random agent with recorded episodes."""
    return write_checkpoint(tmp_path_factory.mktemp("edge") / "agent")


def able(*names: str) -> list[Target]:
    """Targets that can run here; skips the test, naming what is missing, when one cannot."""
    for name in names:
        if missing := BY_NAME[name].missing():
            pytest.skip(f"{name}: missing {', '.join(missing)}")
    return [BY_NAME[name] for name in names]


def test_this_processor_takes_the_recorded_actions(agent: Path) -> None:
    result = edge_proof.prove([agent], able("x86-64"), ["f32", "int8"])
    assert result["differences"] == result["faults"] == []
    f32, int8 = result["rows"]
    assert f32["equal_actions"] == f32["acts"] == f32["recorded_acts"] == 24 * 3
    assert f32["same_bits"]
    assert f32["worst_q_error"] < 1e-5
    assert int8["worst_q_error"] == int8["tolerance"] == 0
    assert 0 < int8["equal_actions"] <= int8["acts"] == int8["reference_actions"]
    assert int8["same_bits"]
    assert f32["own_data"] == int8["own_data"] == 0
    assert f32["agent_c_sha256"] != int8["agent_c_sha256"]


def test_a_bare_cortex_takes_the_actions_of_the_reference(agent: Path) -> None:
    result = edge_proof.prove([agent], able("cortex-m3"), ["int8"])
    assert result["differences"] == result["faults"] == []
    (there,) = result["rows"]
    assert there["same_bits"]
    assert there["reference_actions"] == there["acts"] == 24 * 3
    assert there["counted_acts"] == edge_proof.COUNTED_IN_SOFTWARE
    assert 500 < there["value"] < 100_000
    # Painted: the loop around the act and the library are in it as well.
    assert there["stack_compiler"] <= there["stack_painted"] < 4096
    assert there["text"] + there["rodata"] < there["image_flash"] < 64 << 10


def test_c_of_another_agent_is_found_out(agent: Path, tmp_path: Path) -> None:
    (target,) = able("x86-64")
    other = edge_proof.load_case(write_checkpoint(tmp_path / "other", seed=5))
    source = tmp_path / "source"
    source.mkdir()
    case = edge_proof.load_case(agent)
    write_recorded(tmp_path, case.replayed)
    for variant, complaint in (("f32", "must be the recorded ones"), ("int8", "those of the integer")):
        edge_proof.export_c(other.job(variant), source)
        reference = expected(case.job(variant), case.replayed)
        found = edge_proof.measure(case, variant, target, source, tmp_path / variant, reference)
        assert not found["same_bits"]
        assert found["equal_actions"] < found["acts"]
        assert found["selftest"] == 8
        (difference,) = edge_proof.differences([found])
        assert complaint in difference


@pytest.mark.slow
def test_the_whole_proof_of_the_committed_agent(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "proof.json"
    assert edge_proof.main(["--out", str(out)]) == 0
    result = json.loads(out.read_text())
    assert {found["target"] for found in result["rows"]} == {
        target.name for target in TARGETS if not target.missing()
    }
    for found in result["rows"]:
        assert found["same_bits"]
        assert found["value"] is None or found["name"] == "dense_f32" or found["ratios"]["dense_f32"] > 2
    assert "neither time nor energy" in capsys.readouterr().out
