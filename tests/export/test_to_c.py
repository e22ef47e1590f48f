"""What `export --format c` writes: it compiles without a warning and holds nothing from a config."""

import json
import re
import shutil
import subprocess
from dataclasses import replace

import numpy as np
import pytest

from mast_edge.c_contract import read_c_export
from mast_edge.checkpoint_files import read_agent, read_recorded
from mast_edge.errors import ArtifactRefused, UsageError
from mast_edge.export.c_readme import EXAMPLE
from mast_edge.export.c_source import c_files
from mast_edge.export.job import Job
from mast_edge.export.to_c import export_c
from mast_edge.export.verify import compare, read_back, reference_of, require_equal
from mast_edge.layers import DenseLayer
from mast_edge.spec import AgentSpec
from tests.agents import TINY, write_checkpoint
from tests.c_builds import COMPILERS, mixed_layers

STRICT = [
    *("-std=c99", "-Wall", "-Wextra", "-Wpedantic", "-Wconversion", "-Wsign-conversion", "-Wshadow"),
    *("-Wdouble-promotion", "-Wcast-qual", "-Wmissing-prototypes", "-Wundef", "-Werror", "-ffp-contract=off"),
]
RUN = """\
#include "agent.h"
int main(void)
{
    float worst;
    return agent_selftest(&worst) == 8 && worst <= LIMIT ? 0 : 1;
}
"""
EXTREMES = """\
#include "agent.h"
#include <float.h>
#include <math.h>
#include <stdlib.h>
int main(void)
{
    const float values[8] = {0, -0.0f, 1, -1, FLT_MAX, -FLT_MAX, FLT_MIN, 1e-42f};
    float *obs = malloc(sizeof(float) * AGENT_OBS_DIM);
    unsigned char *avail = malloc(AGENT_N_ACTIONS);
    agent_state *state = malloc(sizeof *state);
    AGENT_Q *q = malloc(sizeof *q * AGENT_N_ACTIONS);
    unsigned draw = 1, t, i;
    agent_reset(state, 0);
    for (t = 0; t < 500; ++t) {
        for (i = 0; i < AGENT_OBS_DIM; ++i) {
            draw = draw * 1664525u + 1013904223u;
            obs[i] = SPECIAL(values[draw >> 29]);
        }
        for (i = 0; i < AGENT_N_ACTIONS; ++i)
            avail[i] = (draw >> i % 32 & 1u) != 0;
        state->agent_id = (int)(t % 5) - 1;
        agent_q(obs, state, q);
        agent_act(obs, avail, state);
        if (t % 7 == 0)
            state->last_action = (int)(t % 40) - 20;
    }
    free(obs), free(avail), free(state), free(q);
    return 0;
}
"""


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    return write_checkpoint(tmp_path_factory.mktemp("run") / "checkpoint", TINY, 0.8)


def job_of(folder, **changes):
    agent = read_agent(folder)
    return Job(agent, reference_of(agent, read_recorded(folder)), {"algorithm": "qmix"}, **changes)


def export(folder, out, **changes):
    out.mkdir(parents=True)
    return export_c(job_of(folder, **changes), out)["c"]


def written(folder, spec, layers, **more):
    folder.mkdir(exist_ok=True)
    for name, data in c_files(spec, layers, **more).items():
        (folder / name).write_bytes(data)
    return folder


def build(folder, compiler, *flags):
    """Compiles and links all C of a folder; what was said goes to the failure's message."""
    sources = sorted(path.name for path in folder.glob("*.c"))
    done = subprocess.run(
        [compiler, *flags, "-o", "program", *sources], cwd=folder, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    return folder / "program"


def undefined(folder, name, nm="nm"):
    """What an object file wants from elsewhere."""
    said = subprocess.run([nm, "-u", name], cwd=folder, capture_output=True, text=True, check=True)
    return set(re.findall(r"U (\w+)", said.stdout))


@pytest.mark.parametrize("precision", ["f32", "int8"])
def test_an_export_is_five_files_that_answer_as_the_checkpoint(checkpoint, tmp_path, precision):
    path = export(checkpoint, tmp_path / "out", precision=precision, prefix="marine")
    assert path == tmp_path / "out/marine.c"
    assert sorted(found.name for found in path.parent.iterdir()) == [
        *("README.md", "contract.json", "marine.c", "marine.h", "marine_selftest.c"),
    ]
    about, _ = read_c_export(path)
    assert (about.prefix, about.precision, about.provenance) == ("marine", precision, {"algorithm": "qmix"})
    assert about.contract.spec == TINY
    reference = job_of(checkpoint).reference
    q, path_taken = read_back("c", path, reference)
    if precision == "f32":
        require_equal(str(path), q, reference)
        assert np.abs(q - reference.q).max() < 1e-5
    else:
        found = compare(q, reference)
        assert found.argmax_agreement > 0.9
        assert "integers, fc1 Q" in path_taken


def test_the_same_checkpoint_gives_the_same_bytes(checkpoint, tmp_path):
    for precision in ("f32", "int8"):
        one = export(checkpoint, tmp_path / f"{precision}1", precision=precision).parent
        two = export(checkpoint, tmp_path / f"{precision}2", precision=precision).parent
        for path in one.iterdir():
            assert path.read_bytes() == (two / path.name).read_bytes()


@pytest.mark.parametrize(
    "levels", [["-O2", "-Os"], pytest.param(["-O0", "-O1", "-O3"], marks=pytest.mark.slow)]
)
@pytest.mark.parametrize("compiler", COMPILERS)
@pytest.mark.parametrize("precision", ["f32", "int8"])
def test_it_compiles_without_a_warning_or_a_library_call(tmp_path, compiler, precision, levels):
    """Every kernel there is, as embedded builds compile it and without; the self test must pass."""
    spec, layers = mixed_layers(precision)
    folder = written(tmp_path, spec, layers)
    source = (folder / "agent.c").read_text()
    for kernel in ("agent_rows(", "agent_blocks4(", "agent_blocks8(", "agent_dense("):
        assert kernel in source
    (folder / "main.c").write_text(RUN.replace("LIMIT", "0.0f" if precision == "int8" else "0x1p-16f"))
    for flags in [*([level] for level in levels), [levels[-1], "-ffreestanding", "-fno-builtin"]]:
        assert subprocess.run([build(folder, compiler, *STRICT, *flags)]).returncode == 0
        sources = ["agent.c", "agent_selftest.c"]
        subprocess.run([compiler, *STRICT, *flags, "-c", *sources], cwd=folder, check=True)
        used = {"agent_act" if precision == "f32" else "agent_act_q14", "agent_reset"}
        assert undefined(folder, "agent.o") == set()
        assert undefined(folder, "agent_selftest.o") == used


@pytest.mark.parametrize("compiler", COMPILERS[:1])
@pytest.mark.parametrize("precision", ["f32", "int8"])
def test_sanitizers_find_nothing_whatever_goes_in(tmp_path, compiler, precision):
    """Buffers of the exact size on the heap, infinities and NaN among the observations, odd indices."""
    spec, layers = mixed_layers(precision)
    folder = written(tmp_path, spec, layers)
    special = "(draw & 64u ? (value) : draw & 32u ? INFINITY : draw & 16u ? -INFINITY : NAN)"
    if precision == "f32":
        special = "(draw & 64u ? (value) : 0.5f)"
    q = "float" if precision == "f32" else "int32_t"
    head = f"#define AGENT_Q {q}\n#define SPECIAL(value) {special}\n"
    (folder / "main.c").write_text(head + EXTREMES)
    sanitizers = "-fsanitize=address,undefined"
    flags = ["-std=c99", "-g", "-O1", "-ffp-contract=off", sanitizers, "-fno-sanitize-recover=all"]
    done = subprocess.run([build(folder, compiler, *flags)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.mark.skipif(shutil.which("arm-none-eabi-gcc") is None, reason="needs arm-none-eabi-gcc")
@pytest.mark.parametrize("level", ["-O0", "-O2", "-Os"])
@pytest.mark.parametrize("precision", ["f32", "int8"])
def test_without_a_floating_point_unit_only_float_code_needs_helpers(tmp_path, level, precision):
    folder = written(tmp_path, *mixed_layers(precision))
    flags = [*STRICT, level, "-mcpu=cortex-m3", "-mthumb", "-ffreestanding", "-fno-builtin"]
    subprocess.run(["arm-none-eabi-gcc", *flags, "-c", "agent.c"], cwd=folder, check=True)
    names = undefined(folder, "agent.o", nm="arm-none-eabi-nm")
    assert all(name.startswith("__aeabi_f") for name in names)
    assert (names == set()) == (precision == "int8")


@pytest.mark.skipif(shutil.which("g++") is None, reason="needs g++")
def test_the_header_is_cpp_too(tmp_path):
    for precision in ("f32", "int8"):
        folder = written(tmp_path / precision, *mixed_layers(precision))
        user = '#include "agent.h"\nint use(agent_state *s) { return s->agent_id; }\n'
        (folder / "user.cpp").write_text(user)
        subprocess.run(
            ["g++", "-std=c++11", "-Wall", "-Wextra", "-pedantic", "-Werror", "-c", "user.cpp"],
            cwd=folder,
            check=True,
        )


@pytest.mark.parametrize("precision", ["f32", "int8"])
def test_the_readme_can_be_followed(checkpoint, tmp_path, precision):
    folder = export(checkpoint, tmp_path / "out", precision=precision, prefix="marine").parent
    page = (folder / "README.md").read_text()
    (example,) = re.findall(r"```c\n(.*?)```", page, re.DOTALL)
    assert example == EXAMPLE.replace("agent_", "marine_").replace("AGENT_", "MARINE_").replace(
        "agent.h", "marine.h"
    )
    (folder / "main.c").write_text(example)
    assert COMPILERS, "no compiler"
    assert subprocess.run([build(folder, COMPILERS[0], *STRICT)]).returncode == 0
    (folder / "size.c").write_text(
        '#include "marine.h"\n#include <stdio.h>\n'
        'int main(void) { printf("%d", (int)sizeof(marine_state)); return 0; }\n'
    )
    (folder / "main.c").unlink()
    said = subprocess.run([build(folder, COMPILERS[0], *STRICT)], capture_output=True, text=True)
    assert f"Memory: {said.stdout} bytes of state per agent" in page


def test_the_ledger_of_tables_is_what_the_compiler_stores(checkpoint, tmp_path):
    """Constant tables as counted, and constants as the compiler measured them: alignment lies between."""
    for precision in ("f32", "int8"):
        folder = export(checkpoint, tmp_path / precision, precision=precision).parent
        page = (folder / "README.md").read_text()
        counted = int(re.search(r"^\| all \|.* (\d+) \|$", page, re.MULTILINE)[1])
        measured = re.findall(r"^\| -O. \| \d+ \| (\d+) \| (\d+) \|$", page, re.MULTILINE)
        assert len(measured) == 2
        for stored, variables in measured:
            assert counted <= int(stored) <= counted + 500
            assert variables == "0"


HOSTILE = [
    *("*/ int evil; /*", "\n#include <evil.h>", '";evil();"', "%s%n", "??/\n", "\\"),
    *("\u202e\u0000evil\ud800", "`evil`", "<script>evil</script>", "| evil |", "# evil"),
]


def test_no_text_of_a_run_reaches_the_c(checkpoint, tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))  # nothing here needs a compiler
    plain = export(checkpoint, tmp_path / "plain").parent
    for number, text in enumerate(HOSTILE):
        job = job_of(checkpoint)
        env = replace(job.checkpoint.env, map_name=text, backend=text)
        provenance = {"algorithm": text, "method": [text], text: text, "seed": {"deep": text}}
        hostile = replace(job, checkpoint=replace(job.checkpoint, env=env), provenance=provenance)
        folder = tmp_path / f"hostile{number}"
        folder.mkdir()
        export_c(hostile, folder)
        for name in ("agent.c", "agent.h", "agent_selftest.c"):
            assert (folder / name).read_bytes() == (plain / name).read_bytes()
        assert json.loads((folder / "contract.json").read_bytes())["provenance"] == provenance
        assert (folder / "contract.json").read_bytes().isascii()
        page, usual = ((at / "README.md").read_text(encoding="utf-8") for at in (folder, plain))
        assert structure(page) == structure(usual)
        assert "<script>" not in page


def structure(page):
    """Headings, fences and lines of a page of Markdown, without the rows of its tables."""
    return [line for line in page.split("\n") if not line.startswith("| ")]


@pytest.mark.parametrize("prefix", ["int", "../evil", "a\nb", "*/", "%s", "ä", ""])
def test_a_prefix_that_is_no_free_name_is_refused_and_nothing_is_written(checkpoint, tmp_path, prefix):
    with pytest.raises(UsageError, match="prefix must"):
        export(checkpoint, tmp_path / "out", prefix=prefix)
    assert list((tmp_path / "out").iterdir()) == []


def test_a_row_too_full_for_integers_is_refused():
    spec = AgentSpec(obs_dim=600, n_actions=2, n_agents=1, hidden_dim=2)
    layers = {
        name: DenseLayer(np.ones((out, in_), np.int8), np.zeros(out, np.float32), np.ones(out, np.float32))
        for name, (out, in_) in spec.layer_shapes().items()
    }
    with pytest.raises(ArtifactRefused, match=r"rows of fc1 must have at most 516 nonzero .* got 603"):
        c_files(spec, layers)


def test_without_a_compiler_the_export_is_written_and_says_so(checkpoint, tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CC", raising=False)
    folder = export(checkpoint, tmp_path / "out").parent
    assert "not measured, no compiler" in (folder / "README.md").read_text()
    assert len(list(folder.iterdir())) == 5
