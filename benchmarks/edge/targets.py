"""The machines of the proof: how to compile for each, how to run there, how to trace every instruction.

Source: runtime.md section 5 (cross-compilation proof).
"""

import functools
import os
import platform
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from mast_edge.errors import MastEdgeError

SECONDS = 300
"""No compiler and no emulated program of the proof may take longer."""


@dataclass(frozen=True, slots=True)
class Target:
    """A processor, its compiler and its emulator.

    Attributes:
        name: as in tables and on the command line.
        prefix: of the GNU tools (`<prefix>gcc`, `<prefix>size`, `<prefix>nm`).
        flags: of the compiler, for every file.
        emulator: a QEMU.
        board: the emulator's machine for a bare processor; None for a process of user mode.
        native: programs run without the emulator, which then only counts.
        soft_float: floats are a library here, and traces long.
    """

    name: str
    prefix: str
    flags: tuple[str, ...]
    emulator: str
    board: str | None = None
    native: bool = False
    soft_float: bool = False

    @property
    def compiler(self) -> str:
        """Name of the C compiler."""
        return f"{self.prefix}gcc"

    @property
    def countable(self) -> bool:
        """Whether the emulator is here; a native target can do without it and is not counted then."""
        return shutil.which(self.emulator) is not None

    def missing(self) -> list[str]:
        """What must be here to run and is not; empty when the target can run."""
        needed = [self.compiler, f"{self.prefix}size", f"{self.prefix}nm"]
        if not self.native:
            needed.append(self.emulator)
        absent = [tool for tool in needed if shutil.which(tool) is None]
        if self.native and platform.machine() not in (self.name, self.name.replace("-", "_")):
            absent.append(f"a {self.name} processor")
        return absent

    def versions(self) -> dict[str, str]:
        """First line of what compiler and emulator say of themselves."""
        return {tool: version_of(tool) for tool in (self.compiler, self.emulator) if shutil.which(tool)}

    def run_command(self, image: Path) -> list[str]:
        """Runs a linked program."""
        if self.native:
            return [str(image)]
        return [self.emulator, *self._load(image)]

    def trace_command(self, image: Path, log: Path) -> list[str]:
        """Runs a linked program and writes one line per instruction into `log`."""
        step = single_step(self.emulator, self.board is not None)
        return [self.emulator, *step, "-d", "exec,nochain", "-D", str(log), *self._load(image)]

    def _load(self, image: Path) -> list[str]:
        if self.board is None:
            return [str(image)]
        quiet = ("-display", "none", "-monitor", "none", "-serial", "none")
        semihosting = ("-semihosting-config", "enable=on,target=native")
        return ["-M", self.board, *quiet, *semihosting, "-kernel", str(image)]


def _cortex(name: str, board: str, *float_flags: str) -> Target:
    flags = (f"-mcpu={name}", "-mthumb", *float_flags)
    return Target(name, "arm-none-eabi-", flags, "qemu-system-arm", board, soft_float=not float_flags)


TARGETS = (
    Target("x86-64", "", (), "qemu-x86_64", native=True),
    _cortex("cortex-m3", "mps2-an385"),
    _cortex("cortex-m4", "mps2-an386", "-mfloat-abi=hard", "-mfpu=fpv4-sp-d16"),
    _cortex("cortex-m7", "mps2-an500", "-mfloat-abi=hard", "-mfpu=fpv5-sp-d16"),
    Target("armv7hf", "arm-linux-gnueabihf-", (), "qemu-arm"),
    Target("aarch64", "aarch64-linux-gnu-", (), "qemu-aarch64"),
    Target("riscv64", "riscv64-linux-gnu-", (), "qemu-riscv64"),
)


@functools.cache
def version_of(tool: str) -> str:
    """First line of `tool --version`."""
    return run([tool, "--version"]).splitlines()[0]


@functools.cache
def single_step(emulator: str, system: bool) -> tuple[str, ...]:
    """The options that make this QEMU translate one instruction at a time; 8.1 renamed them."""
    if "one-insn-per-tb" not in run([emulator, "-h"]):
        return ("-singlestep",)
    return ("-accel", "tcg,one-insn-per-tb=on") if system else ("-one-insn-per-tb",)


def run(command: list[str], folder: Path | None = None) -> str:
    """Runs a tool with no input and no environment of ours but PATH; returns what it printed.

    Both streams: QEMU writes semihosting output to standard error.

    Raises:
        MastEdgeError: it failed, could not be started, or took longer than `SECONDS`.
    """
    kept = {name: os.environ[name] for name in ("PATH", "TMPDIR") if name in os.environ}
    try:
        answer = subprocess.run(
            command,
            cwd=folder,
            env={**kept, "LC_ALL": "C"},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=SECONDS,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as problem:
        raise MastEdgeError(f"{command[0]}: program must run to its end; got {problem}.") from problem
    text = answer.stdout.decode("utf-8", "replace")
    if answer.returncode != 0:
        raise MastEdgeError(
            f"{' '.join(command)}: exit code must be 0; got {answer.returncode}, output:\n{text[-3000:]}"
        )
    return text
