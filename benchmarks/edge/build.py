"""Compiles exported C for a target, and says what the object file needs: bytes, stack, foreign symbols.

Source: runtime.md section 5.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks.edge.targets import Target, run
from mast_edge.checkpoint_files import Recorded
from mast_edge.errors import MastEdgeError

HERE = Path(__file__).resolve().parent
AGENT_FLAGS = (
    *("-std=c99", "-O2", "-ffreestanding", "-fno-builtin", "-ffp-contract=off"),
    *("-Wall", "-Wextra", "-Wconversion", "-pedantic", "-Werror"),
)
HARNESS_FLAGS = ("-std=gnu99", "-O2", "-Wall", "-Wextra", "-Werror", "-fno-tree-loop-distribute-patterns")
_HELPER = re.compile(r"__(?!aeabi_mem)\w+")
"""Names of the compiler's run-time library: soft float, 64-bit shifts; not memcpy and its kin."""


@dataclass(frozen=True, slots=True)
class Footprint:
    """What an agent's object file needs.

    Attributes:
        text, rodata: bytes of code and of constants.
        own_data: bytes of .data and .bss.
        undefined: symbols that others must bring.
        stack: bytes along the deepest path of calls from `agent_act`, as the compiler counts them, without
            its run-time library.
    """

    text: int
    rodata: int
    own_data: int
    undefined: list[str]
    stack: int

    def faults(self) -> list[str]:
        """What breaks a promise of the export; empty when all hold."""
        foreign = [name for name in self.undefined if not _HELPER.fullmatch(name)]
        found = [f"own data must be 0 bytes; got {self.own_data}"] if self.own_data else []
        if foreign:
            found.append(f"foreign symbols must be compiler helpers; got {', '.join(foreign)}")
        return found


def write_recorded(folder: Path, recorded: Recorded) -> None:
    """The files that `recorded.S` takes in."""
    (folder / "obs.bin").write_bytes(recorded.obs.astype("<f4").tobytes())
    (folder / "avail.bin").write_bytes(np.ascontiguousarray(recorded.avail, np.uint8).tobytes())
    (folder / "first.bin").write_bytes(np.ascontiguousarray(recorded.first, np.uint8).tobytes())


def compile_agent(target: Target, source: Path, folder: Path) -> Footprint:
    """Compiles `agent.c` and `agent_selftest.c` into `folder`, warnings being errors.

    Raises:
        MastEdgeError: they do not compile.
    """
    for name in ("agent", "agent_selftest"):
        options = [*target.flags, *AGENT_FLAGS, *_no_pie(target), "-fcallgraph-info=su"]
        run([target.compiler, *options, "-c", str(source / f"{name}.c"), "-o", f"{name}.o"], folder)
    sizes = section_sizes(run([f"{target.prefix}size", "-A", "agent.o"], folder))
    names = run([f"{target.prefix}nm", "-u", "agent.o"], folder).split()
    return Footprint(
        sizes["text"],
        sizes["rodata"],
        sizes["data"] + sizes["bss"],
        sorted(name for name in names if name != "U"),
        deepest_stack((folder / "agent.ci").read_text(encoding="utf-8"), "agent_act"),
    )


def link(target: Target, source: Path, folder: Path, program: str, defines: Mapping[str, int]) -> Path:
    """Links `<program>.c` of this folder with the agent's object files and the data of `write_recorded`.

    Args:
        target: what for.
        source: folder of `agent.h`.
        folder: where `compile_agent` worked; `*.bin` lie in its parent.
        program: `replay` or `count`.
        defines: macros of the program.

    Returns:
        The image.
    """
    bare = target.board is not None
    image = folder / f"{program}-{'-'.join(map(str, defines.values()))}"
    platform = ["semihosting.c"] if bare else ["hosted.c"]
    sources = [str(HERE / name) for name in (f"{program}.c", "digits.c", "recorded.S", *platform)]
    options = [*target.flags, *HARNESS_FLAGS, *_no_pie(target), f"-I{source}", f"-I{folder.parent}"]
    options += [f"-D{name}={value}" for name, value in defines.items()]
    layout = ["-nostdlib", "-nostartfiles", f"-Wl,-T,{HERE / 'cortex_m.ld'}"] if bare else ["-static"]
    objects = [str(folder / "agent.o"), str(folder / "agent_selftest.o")]
    run([target.compiler, *options, *layout, *sources, *objects, "-lgcc", "-o", str(image)], folder)
    return image


def image_flash(target: Target, image: Path) -> int:
    """Bytes of code and constants of a linked image, recorded data left out."""
    sizes = section_sizes(run([f"{target.prefix}size", "-A", image.name], image.parent))
    return sizes["text"] + sizes["rodata"] + sizes["data"]


def section_sizes(listing: str) -> dict[str, int]:
    """Bytes by kind (`text`, `rodata`, `data`, `bss`) from the listing of `size -A`.

    `.data.rel.ro` counts as data: a loader writes it.
    """
    found = dict.fromkeys(("text", "rodata", "data", "bss"), 0)
    for line in listing.splitlines():
        match = re.match(r"\.s?(text|rodata|data|bss)(?:\.\S+)?\s+(\d+)\s", line)
        if match:
            found[match[1]] += int(match[2])
    return found


def deepest_stack(graph: str, entry: str) -> int:
    """Bytes of stack along the costliest path of calls.

    Args:
        graph: what gcc's -fcallgraph-info=su writes (VCG).
        entry: function where the path begins.

    Raises:
        MastEdgeError: no such function, a frame without a bound, or a recursion.
    """
    frames: dict[str, int] = {}
    for title, label in re.findall(r'node: \{ title: "([^"]+)" label: "([^"]*)"', graph):
        size = re.search(r"(\d+) bytes \(([^)]*)\)", label)
        if size and "static" not in size[2] and "bounded" not in size[2]:
            raise MastEdgeError(f"{title}: stack frame must be bounded; got {size[2]}.")
        frames[title] = int(size[1]) if size else 0
    calls: dict[str, list[str]] = {}
    for caller, callee in re.findall(r'edge: \{ sourcename: "([^"]+)" targetname: "([^"]+)"', graph):
        calls.setdefault(caller, []).append(callee)
    if entry not in frames:
        raise MastEdgeError(f"{entry}: function must be in the call graph; got {', '.join(frames)}.")

    def depth(name: str, above: tuple[str, ...]) -> int:
        if name in above:
            raise MastEdgeError(f"{name}: function must not call itself; got {' -> '.join((*above, name))}.")
        return frames.get(name, 0) + max((depth(c, (*above, name)) for c in calls.get(name, ())), default=0)

    return depth(entry, ())


def _no_pie(target: Target) -> tuple[str, ...]:
    return () if target.board else ("-fno-pie", "-no-pie")
