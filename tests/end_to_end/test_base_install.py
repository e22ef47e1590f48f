"""A wheel of this tree, installed with its base dependencies alone, evaluates committed artifacts.

Compiling the native core takes minutes; MAST_EDGE_WHEEL names a wheel that is built already.
"""

import json
import os
import shutil
import subprocess
import sys
import venv
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.end_to_end.conftest import REPOSITORY, environment

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]

ARTIFACTS = REPOSITORY / "tests/data/artifacts"
OPTIONAL = ("torch", "onnx", "onnxruntime", "scipy", "tensorboardX", "matplotlib", "pytest", "nanobind")

Program = Callable[..., subprocess.CompletedProcess[str]]


def run(arguments: list[str], cwd: Path | None = None) -> str:
    """Standard output of a command that must succeed."""
    done = subprocess.run(arguments, cwd=cwd, capture_output=True, text=True, timeout=1500, check=False)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    return str(done.stdout)


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built from a clean copy: what git tracks or would track, nothing that lies about."""
    built = os.environ.get("MAST_EDGE_WHEEL")
    if built:
        return Path(built)
    if not (REPOSITORY / ".git").exists():
        pytest.skip("needs a git checkout to tell sources from what lies about")
    copy, out = tmp_path_factory.mktemp("sources"), tmp_path_factory.mktemp("wheel")
    listed = run(["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"], cwd=REPOSITORY)
    for name in filter(None, listed.split("\0")):
        source = REPOSITORY / name
        if source.is_symlink() or source.is_file():
            (copy / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(source, copy / name, follow_symlinks=False)
    pip = [sys.executable, "-m", "pip", "wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", str(out)]
    run([*pip, str(copy)])
    (path,) = out.glob("*.whl")
    return path


@pytest.fixture(scope="module")
def python(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The interpreter of a fresh virtual environment that holds the wheel and what it requires."""
    folder = tmp_path_factory.mktemp("base")
    venv.create(folder, with_pip=True)
    found = folder / ("Scripts" if os.name == "nt" else "bin") / "python"
    run([str(found), "-m", "pip", "install", "--quiet", str(wheel)])
    return found


@pytest.fixture
def mast_edge(python: Path, tmp_path: Path) -> Program:
    """`mast-edge ARGUMENT...` of the base install, in an empty folder."""
    outside = {key: value for key, value in environment(tmp_path).items() if key != "PYTHONPATH"}

    def call(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [str(python.with_name("mast-edge")), *arguments],
            cwd=tmp_path,
            env=outside,
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )

    return call


def test_the_wheel_holds_what_runs_and_no_sources_of_the_core(wheel: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    sources = {path.relative_to(REPOSITORY).as_posix() for path in (REPOSITORY / "mast_edge").rglob("*.py")}
    data = {f"mast_edge/{name}" for name in ("envs/data/units.json", "envs/data/smac_maps.json", "py.typed")}
    assert sources | data <= names
    assert any(name.startswith("mast_edge/native/_core.") and not name.endswith(".pyi") for name in names)
    assert not [name for name in names if name.endswith((".cpp", ".hpp", ".inc"))]
    assert {name.split("/")[0].split("-")[0] for name in names} == {"mast_edge"}


def test_nothing_optional_is_there(python: Path, tmp_path: Path) -> None:
    code = (
        "import importlib.util as u, json, sys, mast_edge; "
        f"print(json.dumps([[n for n in {OPTIONAL} if u.find_spec(n)], mast_edge.__file__]))"
    )
    found, where = json.loads(run([str(python), "-c", code], cwd=tmp_path))
    assert found == []
    assert Path(where).is_relative_to(python.parent.parent)


@pytest.mark.parametrize("runtime", ["csr", "numpy"])
@pytest.mark.parametrize("agent", ["agent_v1", "3m-s95", "3m-s90-8x1"])
def test_a_committed_artifact_is_evaluated(mast_edge: Program, agent: str, runtime: str) -> None:
    """Against its own weights: in 200 pairs no battle ends otherwise, which settles it (99 would)."""
    artifact = str(ARTIFACTS / f"{agent}.safetensors")
    done = mast_edge("evaluate", "--artifact", artifact, "--runtime", runtime, "--episodes", "200", "--json")
    assert done.returncode == 0, done.stderr
    verdict = json.loads(done.stdout)
    assert (verdict["decision"], verdict["judged"], verdict["episodes"]) == ("pass", "fidelity", 200)
    assert verdict["discordant"] == {"lost": 0, "gained": 0}
    assert verdict["kernel"].startswith("native" if runtime == "csr" else "numpy")
    assert (verdict["win_rate"] > 0.5) == (agent != "agent_v1")


def test_a_committed_artifact_plays(mast_edge: Program) -> None:
    policy = str(ARTIFACTS / "3m-s95.safetensors")
    done = mast_edge("play", "3m", "--policy", policy, "--episodes", "20", "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["win_rate"] > 0.3


def test_what_the_base_install_lacks_is_named_with_its_command(mast_edge: Program) -> None:
    done = mast_edge("evaluate", "--artifact", str(ARTIFACTS / "3m-s95.safetensors"), "--runtime", "onnx")
    assert done.returncode == 3
    assert "pip install 'mast-edge[onnx]'" in done.stderr
    assert "Traceback" not in done.stderr


def test_doctor_finds_all_essentials(mast_edge: Program) -> None:
    done = mast_edge("doctor", "--json")
    assert done.returncode == 0, done.stdout + done.stderr
    found = {check["name"]: check["status"] for check in json.loads(done.stdout)["checks"]}
    assert found["native core"] == "ok"
    assert found["torch"] == "warn"
