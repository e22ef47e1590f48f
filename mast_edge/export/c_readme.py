"""`README.md` beside exported C: how to call it, what it weighs, what its numbers mean."""

from collections.abc import Mapping, Sequence
from typing import Any

from mast_edge.contract import AgentContract
from mast_edge.export.c_names import renamed
from mast_edge.export.c_sizes import CodeSize
from mast_edge.fixed_point import HEADROOM, FixedPointAgent
from mast_edge.markdown import escaped, markdown_table

EXAMPLE = """\
#include "agent.h"

static agent_state me; /* all the memory there is */

int main(void)
{
    float obs[AGENT_OBS_DIM] = {0};             /* what this agent sees */
    unsigned char avail[AGENT_N_ACTIONS] = {1}; /* nonzero = may be taken */
    agent_reset(&me, 0);                        /* a new episode, as agent 0 of its team */
    return agent_act(obs, avail, &me) < 0;      /* the action; -1 when nothing is available */
}
"""


def readme(
    prefix: str,
    contract: AgentContract,
    provenance: Mapping[str, Any],
    tables: Mapping[str, Mapping[str, int]],
    compiler: str | None,
    sizes: Sequence[CodeSize],
    fixed: FixedPointAgent | None,
) -> str:
    """The page; whatever comes from a run is escaped.

    Args:
        prefix: checked.
        contract: sizes and game.
        provenance: where the agent comes from.
        tables: `c_sizes.table_bytes`.
        compiler: which one measured, None when there is none.
        sizes: `c_sizes.code_sizes`.
        fixed: the integer variant's numbers; None for float32.
    """
    kind = "float32" if fixed is None else "integers only (`--precision int8`)"
    own = renamed(
        "\n\n".join(
            [
                "## Calling it",
                f"```c\n{EXAMPLE}```",
                _BUILD,
                _MEMORY.format(state=_state_bytes(contract, fixed), frames=_frames(sizes)),
                _FLOAT if fixed is None else _INTEGER.format(shift=fixed.fc1_shift, headroom=HEADROOM),
            ]
        ),
        prefix,
    )
    facts = {"game": contract.map_name, **contract.contract_json(), **provenance}
    parts = [
        f"# {prefix}: a trained agent in C99, {kind}",
        f"`{prefix}.h` and `{prefix}.c` are the agent. `{prefix}_selftest.c` proves a build: "
        f"`{prefix}_selftest` must return 8. `contract.json` says what the agent is, and the files' SHA-256.",
        own,
        "## What it weighs",
        _table_sizes(tables),
        _code_sizes(compiler, sizes),
        "## Where it comes from",
        markdown_table(["", ""], [*facts.items()]),
    ]
    return "\n\n".join(parts) + "\n"


def _state_bytes(contract: AgentContract, fixed: FixedPointAgent | None) -> int:
    spec = contract.spec
    hidden = 4 * spec.hidden_dim if fixed is None else (2 * spec.hidden_dim + 3) // 4 * 4
    return hidden + 4 * spec.n_actions + 8


def _frames(sizes: Sequence[CodeSize]) -> str:
    known = {size.level: size.stack for size in sizes if size.stack is not None}
    if not known:
        return "not measured here"
    return ", ".join(f"{stack} bytes at {level}" for level, stack in known.items())


def _table_sizes(tables: Mapping[str, Mapping[str, int]]) -> str:
    kinds = list(dict.fromkeys(kind for part in tables.values() for kind in part))
    rows = [
        [part, *[sizes.get(kind, "") for kind in kinds], sum(sizes.values())]
        for part, sizes in tables.items()
    ]
    total = [sum(sizes.get(kind, 0) for sizes in tables.values()) for kind in kinds]
    return "Constant tables, bytes:\n\n" + markdown_table(
        ["part", *kinds, "all"], [*rows, ["all", *total, sum(total)]]
    )


def _code_sizes(compiler: str | None, sizes: Sequence[CodeSize]) -> str:
    if compiler is None or not sizes:
        return "Machine code: not measured, no compiler that tells was there."
    rows = [[size.level, size.text, size.rodata, size.data] for size in sizes]
    return f"Machine code, bytes, by `{escaped(compiler)}`:\n\n" + markdown_table(
        ["flags", "code", "constants", "variables"], rows
    )


_BUILD = """\
Build with `-std=c99 -ffp-contract=off`, and `-O2` for speed or `-Os` for size; never with `-ffast-math`. It
needs no library: `-ffreestanding -fno-builtin -nostdlib` works (without a floating-point unit, float32 needs
the compiler's soft-float routines). It fails to compile where its assumptions do not hold."""

_MEMORY = """\
Memory: {state} bytes of state per agent, owned by the caller; no variables of its own. The stack frames of
all functions together, more than any call needs: {frames}.
Agents share the tables and may run in threads, each with its own state. When another action than the returned
one was executed, write it to `last_action`."""

_FLOAT = """\
Numbers: float32; tanh and sigmoid are rational functions within 3.4e-7. Sums begin with the bias and follow
the columns, so that all builds that do not fuse agree to the bit, with one another and with mast-edge's own
kernels (the x87 unit rounds otherwise)."""

_INTEGER = """\
Numbers: observations are Q14 (held within +-2), the hidden state Q15, Q values Q16; weights are int8 with a
scale per row. fc1's output is Q{shift}: room for {headroom:g} times the largest one in the recorded episodes;
beyond, it is held. Every build gives the same integers. int8 is not lossless: Q values differ from those in
float32, and now and then an action does; `report.json` counts how often."""
