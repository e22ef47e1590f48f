"""Findings of `doctor`, each with a remedy."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from mast_edge import doctor
from mast_edge.native import _core


def test_every_check_answers_here() -> None:
    quick = [check for check in doctor.CHECKS if check is not doctor.check_torch]
    for check in quick:
        found = check()
        assert found.status in ("ok", "warn")
        assert found.found
        assert (found.status == "ok") or found.fix


def test_an_old_python_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "LOWEST_PYTHON", (99, 0))
    assert doctor.check_python().status == "fail"


def test_kernels_are_named() -> None:
    found = doctor.check_native()
    assert found.status == "ok"
    assert f"kernels {_core.kernel_path()} of {', '.join(_core.instruction_sets())}" in found.found


def test_kernels_that_this_cpu_lacks_fail() -> None:
    code = "from mast_edge.doctor import check_native as c; print(c().status, c().fix)"
    environment = {**os.environ, "MAST_EDGE_KERNELS": "v4"}
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True
    )
    assert done.stdout == "fail change or unset MAST_EDGE_KERNELS\n"


def test_a_missing_native_core_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "mast_edge.native._core", None)
    found = doctor.check_native()
    assert (found.status, "pip install" in found.fix) == ("fail", True)


def test_missing_extras_are_warnings_with_the_pip_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "installed_version", lambda package: None)
    for check, extra in (
        (doctor.check_torch, "train"),
        (doctor.check_onnx, "export"),
        (doctor.check_onnxruntime, "onnx"),
    ):
        found = check()
        assert (found.status, f"mast-edge[{extra}]" in found.fix) == ("warn", True)
    monkeypatch.delenv("MAST_EDGE_SMAC_PYTHON", raising=False)
    assert doctor.check_smac().status == "warn"
    assert "git+https://github.com/oxwhirl/smac" in doctor.check_smac().fix


@pytest.mark.parametrize(("inside", "status"), [("env", "ok"), ("facade", "warn")])
def test_the_wrong_smac_is_told_from_the_right_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, inside: str, status: str
) -> None:
    (tmp_path / "smac" / inside).mkdir(parents=True)
    (tmp_path / "smac" / "__init__.py").touch()
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(doctor, "installed_version", lambda package: "2.2.0")
    found = doctor.check_smac()
    assert found.status == status
    assert ("oxwhirl" in found.fix) == (status == "warn")


def test_starcraft_is_looked_for_where_sc2path_points(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SC2PATH", str(tmp_path))
    assert (doctor.check_starcraft().status, doctor.check_smac_maps().status) == ("warn", "warn")
    assert str(tmp_path) in doctor.check_smac_maps().fix
    (tmp_path / "Versions" / "Base69232").mkdir(parents=True)
    assert "Base69232" in doctor.check_starcraft().found
    maps = tmp_path / "Maps" / "SMAC_Maps"
    maps.mkdir(parents=True)
    (maps / "3m.SC2Map").touch()
    assert (doctor.check_smac_maps().status, doctor.check_smac_maps().found) == ("ok", f"1 in {maps}")


FAKE_SMAC = Path(__file__).resolve().parent / "envs" / "fake_smac"


def test_the_named_interpreter_is_asked_for_its_smac(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MAST_EDGE_SMAC_PYTHON", sys.executable)
    monkeypatch.setenv("PYTHONPATH", str(FAKE_SMAC))
    assert (doctor.check_smac().status, "0.1.0b1" in doctor.check_smac().found) == ("ok", True)
    (tmp_path / "smac").mkdir()
    (tmp_path / "smac" / "__init__.py").touch()
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    found = doctor.check_smac()
    assert (found.status, "SMAC3" in found.fix, "oxwhirl" in found.fix) == ("warn", True, True)
    monkeypatch.setenv("MAST_EDGE_SMAC_PYTHON", str(tmp_path / "no-python"))
    assert "no-python" in doctor.check_smac().found


def test_no_compiler_is_a_warning(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor.shutil, "which", lambda name: None)
    assert doctor.check_compiler().status == "warn"


def test_c_and_cross_compilers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CC", "/no/such/compiler")
    assert doctor.check_c_compiler().status == "warn"
    monkeypatch.setattr(doctor.shutil, "which", lambda name: None if "riscv64" in name else name)
    found = doctor.check_cross_tools()
    assert (found.status, found.found) == ("warn", "no riscv64-linux-gnu-gcc")
    assert found.fix == "make edge-proof: apt install gcc-riscv64-linux-gnu"
    monkeypatch.setattr(doctor.shutil, "which", lambda name: name)
    assert doctor.check_cross_tools().status == "ok"


def test_runs_that_cannot_be_written_fail(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MAST_EDGE_RUNS", str(tmp_path / "a" / "b"))
    assert doctor.check_runs().status == "ok"

    def refuse(**kwargs: Any) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(doctor.tempfile, "TemporaryFile", refuse)
    found = doctor.check_runs()
    assert (found.status, "Permission denied" in found.found) == ("fail", True)


def test_little_space_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "NEEDED_BYTES", 10**18)
    assert doctor.check_disk().status == "fail"
