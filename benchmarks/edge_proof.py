"""Proves on emulated small processors that exported C takes the checkpoint's actions, and what it needs.

For every agent the C of three variants (`f32`, `int8`, and `dense_f32`: the same weights, every layer dense)
is compiled for every target whose tools are installed. There it replays the recorded episodes, each agent of
the team with its own state and its own last actions, and runs its self test. float32 must take every recorded
action; int8 must equal the integer reference in every number, its agreement with the record is reported.
Instructions are counted by difference in a trace; they are neither time nor energy: QEMU models no cycles.

Source: runtime.md section 5. Run: make edge-proof, or python benchmarks/edge_proof.py [CHECKPOINT|RUN ...]
Exit code: 0 proven, 1 a size, a symbol or a budget, 6 an action, 8 no target can run here.
"""

import argparse
import hashlib
import os
import platform
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")
if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import numpy as np

from benchmarks.edge.budget import BUDGET, exceeded, load_budget, write_budget
from benchmarks.edge.build import AGENT_FLAGS, compile_agent, image_flash, link, write_recorded
from benchmarks.edge.measure import Outcome, instructions_per_act, replay
from benchmarks.edge.reference import Expected, expected
from benchmarks.edge.targets import TARGETS, Target
from benchmarks.output import add_output_options, finish
from mast_edge.checkpoint_files import AgentCheckpoint, Recorded, read_agent, read_recorded
from mast_edge.console import out, remark, rows_table
from mast_edge.errors import EnvironmentUnavailable, MastEdgeError
from mast_edge.export.exporter import find_checkpoint
from mast_edge.export.job import Job
from mast_edge.export.to_c import export_c
from mast_edge.export.verify import Reference, reference_of
from mast_edge.golden import STEPS
from mast_edge.layers import layers_of
from mast_edge.provenance import git_commit, versions

COMMITTED = Path(__file__).resolve().parent.parent / "tests/data/agents/3m-s95"
VARIANTS = {"f32": "f32", "int8": "int8", "dense_f32": "f32"}
"""Variant -> precision."""
COUNTED_ACTS = 8
COUNTED_IN_SOFTWARE = 4
"""Acts that are counted where floats are a library: a dense one is two million lines of trace."""
RECORDED_BYTES = 3 << 20
"""Recorded data in one image; the boards have 4 MiB of code memory."""
NOTE = "Instructions are counted under QEMU, which models no cycles and no flash: neither time nor energy."

Tell = Callable[[str], None]


@dataclass(frozen=True, slots=True, eq=False)
class Case:
    """An agent, and as much of its recorded episodes as fits.

    Attributes:
        name: `<map>@<sparsity %>`, `/8x1` behind it when blocks are stored.
        checkpoint: weights and masks.
        reference: all of its recorded episodes.
        replayed: those that the targets replay.
    """

    name: str
    checkpoint: AgentCheckpoint
    reference: Reference
    replayed: Recorded

    def job(self, variant: str) -> Job:
        """What the exporter is given for a variant."""
        dense = replace(self.checkpoint, masks={})
        checkpoint = dense if variant == "dense_f32" else self.checkpoint
        return Job(checkpoint, self.reference, {}, precision=VARIANTS[variant])


def load_case(source: Path) -> Case:
    """The case of a checkpoint folder or a run folder.

    Raises:
        MissingInput: there is no complete checkpoint.
        ArtifactRefused: it is damaged.
    """
    _, folder = find_checkpoint(source)
    checkpoint, recorded = read_agent(folder), read_recorded(folder)
    percent = 100 * float(checkpoint.index.get("sparsity") or 0)
    layers = layers_of(checkpoint.weights, checkpoint.masks).values()
    blocks = sorted({layer.pattern for layer in layers} - {"element", "dense"})
    name = "/".join([f"{checkpoint.env.map_name}@{percent:g}", *blocks])
    return Case(name, checkpoint, reference_of(checkpoint, recorded), shortened(recorded, RECORDED_BYTES))


def shortened(recorded: Recorded, limit: int) -> Recorded:
    """The longest beginning of whole episodes within `limit` bytes; of a longer first one, what fits."""
    per_step = recorded.obs[0].nbytes + recorded.avail[0].nbytes + 1
    fits = max(1, limit // per_step)
    if fits >= len(recorded.first):
        return recorded
    begins = np.flatnonzero(recorded.first)
    whole = int(begins[begins <= fits].max())
    steps = whole or fits
    return Recorded(
        recorded.obs[:steps], recorded.avail[:steps], recorded.actions[:steps], recorded.first[:steps]
    )


def measure(
    case: Case, variant: str, target: Target, source: Path, folder: Path, reference: Expected
) -> dict[str, Any]:
    """Compiles, runs and counts one variant on one target: its row.

    Args:
        case: the agent.
        variant: a name in `VARIANTS`.
        target: whose tools are here.
        source: the exporter's files.
        folder: a new one, inside that of `write_recorded`.
        reference: of the variant.
    """
    folder.mkdir(parents=True)
    footprint = compile_agent(target, source, folder)
    image = link(target, source, folder, "replay", {"RECORDED_STEPS": len(case.replayed.first)})
    outcome = replay(target, image, case.replayed.actions.shape)
    acts = COUNTED_IN_SOFTWARE if target.soft_float else COUNTED_ACTS
    acts = min(acts, _first_episode(case.replayed))
    count = None
    if target.countable:
        once, twice = (
            link(target, source, folder, "count", {"COUNTED_STEPS": acts, "REPEATS": n}) for n in (1, 2)
        )
        count = instructions_per_act(target, once, twice, acts)
    return {
        "suite": "edge",
        "name": variant,
        "case": case.name,
        "checkpoint_sha256": case.checkpoint.index_sha256,
        "agent_c_sha256": hashlib.sha256((source / "agent.c").read_bytes()).hexdigest(),
        "target": target.name,
        "value": count,
        "unit": "instructions/act",
        "ratios": {},
        "counted_acts": acts,
        **judged(outcome, case.replayed, reference),
        "recorded_acts": case.reference.recorded.actions.size,
        "text": footprint.text,
        "rodata": footprint.rodata,
        "own_data": footprint.own_data,
        "undefined": footprint.undefined,
        "stack_compiler": footprint.stack,
        "stack_painted": outcome.stack,
        "image_flash": image_flash(target, image) if target.board else None,
        "faults": footprint.faults(),
    }


def judged(outcome: Outcome, recorded: Recorded, reference: Expected) -> dict[str, Any]:
    """How what was done compares with what is recorded, and with the reference."""
    same = outcome.actions == recorded.actions
    return {
        "acts": same.size,
        "equal_actions": int(same.sum()),
        "first_difference": None if same.all() else np.argwhere(~same)[0].tolist(),
        "reference_actions": int((outcome.actions == reference.actions).sum()),
        "same_bits": outcome.bits == reference.bits,
        "selftest": outcome.selftest,
        "worst_q_error": outcome.worst,
        "tolerance": reference.tolerance,
    }


def _first_episode(recorded: Recorded) -> int:
    begins = np.flatnonzero(recorded.first)
    return int(begins[1]) if len(begins) > 1 else len(recorded.first)


def differences(rows: Sequence[dict[str, Any]]) -> list[str]:
    """What disproves the export. Floats may differ from the reference in bits, integers may not."""
    found = []
    for row in rows:
        who = f"{row['case']} {row['name']} on {row['target']}"
        if VARIANTS[row["name"]] == "f32" and row["equal_actions"] != row["acts"]:
            step, agent = row["first_difference"]
            found.append(
                f"{who}: actions must be the recorded ones; got {row['acts'] - row['equal_actions']} others "
                f"of {row['acts']}, the first at step {step}, agent {agent}."
            )
        other = row["acts"] - row["reference_actions"]
        if VARIANTS[row["name"]] == "int8" and (other or not row["same_bits"]):
            found.append(
                f"{who}: hidden states, Q values and actions must be those of the integer reference; "
                f"got others, {other} other actions of {row['acts']}."
            )
        if row["selftest"] != STEPS:
            found.append(f"{who}: self test must be right {STEPS} times; got {row['selftest']}.")
        if not 0 <= row["worst_q_error"] <= row["tolerance"]:
            found.append(
                f"{who}: Q values of the self test must be within {row['tolerance']:.3g}; "
                f"got {row['worst_q_error']:.3g} off."
            )
    return found


def add_ratios(rows: Sequence[dict[str, Any]]) -> None:
    """Instructions of the other variants on the same target over a row's own; above 1 the row needs fewer."""
    for row in rows:
        row["ratios"] = {
            other["name"]: round(other["value"] / row["value"], 3)
            for other in rows
            if other["target"] == row["target"] and other is not row and row["value"] and other["value"]
        }


def prove_case(
    case: Case, targets: Sequence[Target], variants: Sequence[str], tell: Tell
) -> list[dict[str, Any]]:
    """All rows of one agent."""
    rows = []
    with tempfile.TemporaryDirectory(prefix="edge-proof-") as name:
        for variant in variants:
            if variant == "dense_f32" and not case.checkpoint.masks:
                continue
            folder = Path(name) / variant
            source = folder / "source"
            source.mkdir(parents=True)
            job = case.job(variant)
            export_c(job, source)
            write_recorded(folder, case.replayed)
            reference = expected(job, case.replayed)
            for target in targets:
                tell(f"{case.name} {variant} on {target.name} ...")
                row = measure(case, variant, target, source, folder / target.name, reference)
                tell(line_of(row))
                rows.append(row)
    return rows


def prove(
    sources: Sequence[Path],
    targets: Sequence[Target] = TARGETS,
    variants: Sequence[str] = tuple(VARIANTS),
    tell: Tell = lambda _: None,
) -> dict[str, Any]:
    """The `mast-edge/benchmark/1` object of suite `edge`.

    Args:
        sources: checkpoint folders or run folders.
        targets: those whose tools are missing are skipped, and named in `host`.
        variants: names in `VARIANTS`.
        tell: called with a line whenever something is known.

    Returns:
        The object; beside the fields of cli.md `differences` (actions, bits, self tests) and `faults` (sizes,
        symbols, budget), empty when all is proven.

    Raises:
        EnvironmentUnavailable: no target can run here.
    """
    skipped = {target.name: target.missing() for target in targets if target.missing()}
    for name, tools in skipped.items():
        tell(f"skipped {name}: missing {', '.join(tools)}")
    able = [target for target in targets if target.name not in skipped]
    if not able:
        wanted = "; ".join(f"{name}: {', '.join(tools)}" for name, tools in skipped.items())
        raise EnvironmentUnavailable(
            f"edge proof: tools of one target must be installed; got none. Install some of: {wanted}"
        )
    rows: list[dict[str, Any]] = []
    different: list[str] = []
    faults: list[str] = []
    for case in [load_case(source) for source in sources]:
        found = prove_case(case, able, variants, tell)
        different += differences(found)
        add_ratios(found)
        faults += [
            f"{row['case']} {row['name']} on {row['target']}: {fault}."
            for row in found
            for fault in row["faults"]
        ]
        faults += exceeded(load_budget(), found, compilers_of(able))
        rows += found
    result = {"schema": "mast-edge/benchmark/1", "host": host_facts(able, skipped), "rows": rows}
    return {**result, "differences": different, "faults": faults}


def host_facts(able: Sequence[Target], skipped: Mapping[str, list[str]]) -> dict[str, Any]:
    """What the numbers depend on, and which targets are missing for want of which tools."""
    return {
        "machine": platform.machine(),
        "git_commit": git_commit(),
        **versions(),
        "tools": {tool: version for target in able for tool, version in target.versions().items()},
        "agent_flags": " ".join(AGENT_FLAGS),
        "target_flags": {target.name: " ".join(target.flags) for target in able},
        "compilers": compilers_of(able),
        "skipped": skipped,
        "note": NOTE,
    }


def compilers_of(able: Sequence[Target]) -> dict[str, str]:
    """Target -> version of its compiler."""
    return {target.name: target.versions()[target.compiler] for target in able}


def line_of(row: dict[str, Any]) -> str:
    """A row as soon as it is known."""
    count = "not counted" if row["value"] is None else f"{row['value']:,.0f} instructions/act"
    equal = f"{row['equal_actions']} of {row['acts']} recorded actions"
    return f"{row['case']} {row['name']} on {row['target']}: {equal}, {count}"


def show(result: dict[str, Any]) -> None:
    """The tables for people, then what is wrong."""
    for agent in dict.fromkeys(row["checkpoint_sha256"] for row in result["rows"]):
        rows = [row for row in result["rows"] if row["checkpoint_sha256"] == agent]
        replayed = f"{rows[0]['acts']} of {rows[0]['recorded_acts']} recorded acts"
        title = f"{rows[0]['case']}, checkpoint {agent[:12]}: {replayed}"
        out(rows_table(list(_COLUMNS), [[cell(row) for cell in _COLUMNS.values()] for row in rows], title))
    out(f"{NOTE} Bytes of agent.o; flash is the linked image without the recorded data.")
    for tool, version in result["host"]["tools"].items():
        out(f"{tool}: {version}")
    for name, tools in result["host"]["skipped"].items():
        out(f"skipped {name}: missing {', '.join(tools)}")
    for problem in (*result["differences"], *result["faults"]):
        out(f"FAILED {problem}")


_COLUMNS: dict[str, Callable[[dict[str, Any]], Any]] = {
    "variant": lambda row: row["name"],
    "target": lambda row: row["target"],
    "actions": lambda row: f"{row['equal_actions']}/{row['acts']}",
    "same bits": lambda row: row["same_bits"],
    "self test": lambda row: f"{row['selftest']}/{STEPS}",
    "worst |dQ|": lambda row: f"{row['worst_q_error']:.1e}",
    "instr/act": lambda row: None if row["value"] is None else round(row["value"]),
    "dense/this": lambda row: row["ratios"].get("dense_f32"),
    ".text": lambda row: row["text"],
    ".rodata": lambda row: row["rodata"],
    "flash": lambda row: row["image_flash"],
    "stack": lambda row: row["stack_compiler"],
    "painted": lambda row: row["stack_painted"],
    "helpers": lambda row: len(row["undefined"]),
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Proves, prints, and returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("sources", nargs="*", type=Path, help="checkpoint or run folders (committed agent)")
    names = [target.name for target in TARGETS]
    only = {"action": "append", "help": "this one only; repeatable"}
    parser.add_argument("--target", choices=names, dest="targets", **only)
    parser.add_argument("--variant", choices=list(VARIANTS), dest="variants", **only)
    parser.add_argument("--write-budget", action="store_true", help=f"keep the counts in {BUDGET.name}")
    add_output_options(parser)
    options = parser.parse_args(arguments)
    targets = [target for target in TARGETS if target.name in (options.targets or names)]
    variants = [variant for variant in VARIANTS if variant in (options.variants or VARIANTS)]
    try:
        result = prove(options.sources or [COMMITTED], targets, variants, remark)
        if options.write_budget:
            write_budget(result)
        finish(result, options, show)
    except MastEdgeError as error:
        remark(str(error))
        return error.exit_code
    if result["differences"]:
        return 6
    return 1 if result["faults"] else 0


if __name__ == "__main__":
    sys.exit(main())
