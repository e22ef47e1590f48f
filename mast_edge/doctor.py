"""What this machine has, and what is missing: one line per check, each with its remedy.

Nothing heavy is imported: versions come from package metadata, and torch is asked in a process of its own.

Source: parity_and_safety.md 8, 9.
"""

import importlib
import importlib.util
import locale
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from mast_edge.c_library import find_compiler
from mast_edge.errors import EnvironmentUnavailable
from mast_edge.provenance import installed_version
from mast_edge.runs import NEEDED_BYTES, runs_root

if TYPE_CHECKING:
    from rich.table import Table

Status = Literal["ok", "warn", "fail"]
LOWEST_PYTHON = (3, 11)
CROSS_TOOLS = {
    "arm-none-eabi-gcc": "gcc-arm-none-eabi",
    "qemu-system-arm": "qemu-system-arm",
    "aarch64-linux-gnu-gcc": "gcc-aarch64-linux-gnu",
    "riscv64-linux-gnu-gcc": "gcc-riscv64-linux-gnu",
    "qemu-aarch64": "qemu-user",
}
"""Program -> Debian's package of it."""


@dataclass(frozen=True, slots=True)
class Check:
    """One finding.

    Attributes:
        status: `fail` = nothing works without it; `warn` = one feature does not.
        found: what is there.
        fix: what to do; empty when ok.
    """

    name: str
    status: Status
    found: str
    fix: str = ""


@dataclass(frozen=True, slots=True)
class Report:
    """All findings."""

    checks: tuple[Check, ...]

    @property
    def ok(self) -> bool:
        """Nothing essential is missing."""
        return all(check.status != "fail" for check in self.checks)

    def to_json(self) -> dict[str, Any]:
        """The `mast-edge/doctor/1` object (cli.md)."""
        return {"schema": "mast-edge/doctor/1", "ok": self.ok, "checks": [asdict(c) for c in self.checks]}


def examine() -> Report:
    """Makes every check of `CHECKS`, in order."""
    return Report(tuple(check() for check in CHECKS))


def doctor_table(report: Report) -> "Table":
    """The findings for people."""
    from rich.table import Table
    from rich.text import Text

    colour = {"ok": "green", "warn": "yellow", "fail": "red"}
    table = Table(title="All essentials are here" if report.ok else "Something essential is missing")
    for head in ("check", "", "found", "what to do"):
        table.add_column(head, overflow="fold")
    for check in report.checks:
        table.add_row(
            check.name, Text(check.status, colour[check.status]), Text(check.found), Text(check.fix)
        )
    return table


def check_python() -> Check:
    """The interpreter."""
    found = sys.version.split()[0]
    if sys.version_info < LOWEST_PYTHON:
        return Check("python", "fail", found, "use Python 3.11 or newer")
    return Check("python", "ok", found)


def check_native() -> Check:
    """The compiled core: simulator and agent kernels."""
    try:
        core = importlib.import_module("mast_edge.native._core")
    except ImportError as error:
        return Check(
            "native core", "fail", f"not importable: {error}", "run: pip install -e . (needs a C++ compiler)"
        )
    try:
        kernels = f"kernels {core.kernel_path()} of {', '.join(core.instruction_sets())}"
    except RuntimeError as error:
        return Check("native core", "fail", str(error), "change or unset MAST_EDGE_KERNELS")
    return Check("native core", "ok", f"{Path(str(core.__file__)).name}, {kernels}")


def check_torch() -> Check:
    """torch, and whether it sees CUDA (asked in a child process: importing it takes seconds)."""
    version = installed_version("torch")
    if version is None:
        return Check("torch", "warn", "not installed", "to train: pip install 'mast-edge[train]'")
    script = "import torch; print(torch.cuda.get_device_name() if torch.cuda.is_available() else 'cpu only')"
    try:
        answer = subprocess.run(
            [sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return Check("torch", "warn", f"{version}, does not start: {error}", "reinstall torch")
    if answer.returncode != 0:
        last = (answer.stderr.strip().splitlines() or ["no message"])[-1]
        return Check("torch", "warn", f"{version}, not importable: {last}", "reinstall torch")
    return Check("torch", "ok", f"{version}, {answer.stdout.strip()}")


def check_onnx() -> Check:
    """What `export --format onnx` needs."""
    return _optional("onnx", "export", "to write ONNX")


def check_onnxruntime() -> Check:
    """What `evaluate --runtime onnx` needs."""
    return _optional("onnxruntime", "onnx", "to run ONNX")


def check_smac() -> Check:
    """StarCraft's SMAC, in this interpreter or the one that is named; the index's smac is something else."""
    from mast_edge.envs import smac_install

    named = os.environ.get(smac_install.PYTHON_VARIABLE)
    if named:
        try:
            python = smac_install.interpreter(named, os.environ)
        except EnvironmentUnavailable as error:
            return Check("smac package", "warn", f"no interpreter {named}", str(error))
        found = smac_install.probe(python, os.environ)
        if "error" in found:
            fix = smac_install.explain(found["error"], found["message"], python)
            return Check("smac package", "warn", f"{found['error']} in {python}", fix)
        return Check("smac package", "ok", f"{found['smac']}, StarCraft's SMAC, Python {found['python']}")
    version = installed_version("smac")
    if version is None:
        variable = smac_install.PYTHON_VARIABLE
        fix = f"for real StarCraft II: {smac_install.INSTALL}, or name its Python in {variable}"
        return Check("smac package", "warn", "not installed; the embedded simulator needs none", fix)
    spec = importlib.util.find_spec("smac")
    folders = list(spec.submodule_search_locations or ()) if spec is not None else []
    if any((Path(folder) / "env").is_dir() for folder in folders):
        return Check("smac package", "ok", f"{version}, StarCraft's SMAC")
    return Check(
        "smac package",
        "warn",
        f"{version} is SMAC3, a hyper-parameter optimiser",
        "pip uninstall smac; StarCraft's SMAC installs from https://github.com/oxwhirl/smac only",
    )


def check_starcraft() -> Check:
    """StarCraft II, found as SMAC finds it; only `env.backend=smac` needs it."""
    from mast_edge.envs import smac_install

    folder = smac_install.game_folder(os.environ)
    builds = smac_install.builds(folder)
    if not builds:
        found = f"none in {folder}; the embedded simulator needs none"
        return Check("StarCraft II", "warn", found, "install it and point SC2PATH at its folder")
    return Check("StarCraft II", "ok", f"{folder}: {', '.join(builds)}")


def check_smac_maps() -> Check:
    """SMAC's map files, which neither SMAC nor the game brings along."""
    from mast_edge.envs import smac_install

    folder = smac_install.game_folder(os.environ)
    present = smac_install.installed_maps(folder)
    if not present:
        fix = f"for real StarCraft II: unpack SMAC_Maps.zip from {smac_install.MAPS} into {folder / 'Maps'}"
        return Check("SMAC maps", "warn", f"none in {smac_install.maps_folder(folder)}", fix)
    return Check("SMAC maps", "ok", f"{len(present)} in {smac_install.maps_folder(folder)}")


def check_compiler() -> Check:
    """A C++ compiler, to build the native core from source."""
    named = os.environ.get("CXX")
    for name in filter(None, (named, "c++", "g++", "clang++", "cl")):
        found = shutil.which(name)
        if found:
            return Check("compiler", "ok", found)
    return Check("compiler", "warn", "none on PATH", "install g++ or clang++ to build from source")


def check_c_compiler() -> Check:
    """A C compiler, which verifies `export --format c` and builds what `--runtime c` plays."""
    try:
        return Check("C compiler", "ok", find_compiler().version)
    except EnvironmentUnavailable:
        return Check("C compiler", "warn", "none", "export --format c: install gcc or clang, or set CC")


def check_cross_tools() -> Check:
    """What proves exported C on emulated devices (`make edge-proof`)."""
    missing = [tool for tool in CROSS_TOOLS if shutil.which(tool) is None]
    if not missing:
        return Check("cross compilers", "ok", ", ".join(CROSS_TOOLS))
    fix = f"make edge-proof: apt install {' '.join(CROSS_TOOLS[tool] for tool in missing)}"
    return Check("cross compilers", "warn", f"no {', '.join(missing)}", fix)


def check_runs() -> Check:
    """Whether runs can be written where they would go."""
    folder = _existing(runs_root())
    try:
        with tempfile.TemporaryFile(dir=folder) as file:
            file.write(b"x")
    except OSError as error:
        return Check(
            "runs folder", "fail", f"{folder}: {error.strerror}", "set MAST_EDGE_RUNS to a writable folder"
        )
    return Check("runs folder", "ok", str(runs_root().absolute()))


def check_disk() -> Check:
    """Free space for runs."""
    free = shutil.disk_usage(_existing(runs_root())).free
    found = f"{free / 1e9:.1f} GB free"
    if free < NEEDED_BYTES:
        return Check(
            "disk", "fail", found, f"free at least {NEEDED_BYTES / 1e6:.0f} MB, or set MAST_EDGE_RUNS"
        )
    return Check("disk", "ok" if free > 10 * NEEDED_BYTES else "warn", found)


def check_locale() -> Check:
    """Text encoding of the terminal and of files."""
    stream, files = getattr(sys.stdout, "encoding", None) or "none", locale.getpreferredencoding(False)
    if {stream.lower().replace("-", ""), files.lower().replace("-", "")} <= {"utf8"}:
        return Check("locale", "ok", files)
    return Check("locale", "warn", f"output {stream}, files {files}", "set PYTHONUTF8=1 or a UTF-8 locale")


def _optional(package: str, extra: str, purpose: str) -> Check:
    version = installed_version(package)
    if version is None:
        return Check(package, "warn", "not installed", f"{purpose}: pip install 'mast-edge[{extra}]'")
    return Check(package, "ok", version)


def _existing(path: Path) -> Path:
    folder = path.absolute()
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    return folder


CHECKS: tuple[Callable[[], Check], ...] = (
    check_python,
    check_native,
    check_torch,
    check_onnx,
    check_onnxruntime,
    check_smac,
    check_starcraft,
    check_smac_maps,
    check_compiler,
    check_c_compiler,
    check_cross_tools,
    check_runs,
    check_disk,
    check_locale,
)
