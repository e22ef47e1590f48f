"""Puts exported C together: header, source and self test, from tables and sizes alone.

No text of a run goes in, only sizes and the hexadecimal digest of the checkpoint.
"""

import re
from collections.abc import Mapping

from mast_edge.export import c_float, c_integer
from mast_edge.export.c_calls import calls
from mast_edge.export.c_kernels import kernel
from mast_edge.export.c_names import checked_prefix, renamed
from mast_edge.export.c_selftest import selftest_source
from mast_edge.export.c_tables import Coded, Part, Table, hot_columns, hot_tables, layer_parts, part_tables
from mast_edge.fixed_point import Q_SHIFT, USUAL_FC1_SHIFT, FixedPointAgent, fixed_golden, tanh_table
from mast_edge.golden import golden_answers
from mast_edge.layers import Layer
from mast_edge.spec import LAYERS, AgentSpec

_ROWS = {
    **{"fc1": "AGENT_HIDDEN_DIM", "fc2": "AGENT_N_ACTIONS"},
    **{"gru_ih": "3 * AGENT_HIDDEN_DIM", "gru_hh": "3 * AGENT_HIDDEN_DIM"},
}
_COLS = {
    **{"fc1": "AGENT_OBS_DIM", "fc2": "AGENT_HIDDEN_DIM"},
    **{"gru_ih": "AGENT_HIDDEN_DIM", "gru_hh": "AGENT_HIDDEN_DIM"},
}


def c_files(
    spec: AgentSpec,
    layers: Mapping[str, Layer],
    prefix: str = "agent",
    *,
    digest: str | None = None,
    fc1_shift: int = USUAL_FC1_SHIFT,
) -> dict[str, bytes]:
    """`<prefix>.h`, `<prefix>.c` and `<prefix>_selftest.c`; the same arguments give the same bytes.

    Args:
        spec: sizes.
        layers: float32 layers for the float variant, int8 ones for the integer variant.
        prefix: what every name begins with.
        digest: 64 hexadecimal digits of the checkpoint, for a comment.
        fc1_shift: integer variant: shift of fc1's output.

    Raises:
        UsageError: the prefix is not free.
        ArtifactRefused: weights too large or rows too full for the integer variant.
    """
    checked_prefix(prefix)
    if digest is not None and not re.fullmatch(r"[0-9a-f]{64}", digest):
        raise ValueError(f"c_files: digest must be 64 hexadecimal digits; got {digest!r:.80}.")
    fixed = fixed_agent(spec, layers, fc1_shift)
    if fixed is not None:
        golden = selftest_source(*fixed_golden(fixed), integer=True)
    else:
        golden_q, actions = golden_answers(spec, lambda name, x: layers[name].affine(x))
        golden = selftest_source(golden_q, actions, integer=False)
    texts = {
        f"{prefix}.h": _header(spec, fixed, digest),
        f"{prefix}.c": _source(spec, layers, fixed),
        f"{prefix}_selftest.c": golden,
    }
    return {name: renamed(text, prefix).encode("ascii") for name, text in texts.items()}


def fixed_agent(
    spec: AgentSpec, layers: Mapping[str, Layer], fc1_shift: int = USUAL_FC1_SHIFT
) -> FixedPointAgent | None:
    """What the integer variant computes; None for float32 layers."""
    return None if layers["fc1"].scale is None else FixedPointAgent(spec, layers, fc1_shift)


def all_tables(
    spec: AgentSpec, layers: Mapping[str, Layer], fixed: FixedPointAgent | None
) -> tuple[dict[str, list[Part]], list[Table]]:
    """The parts of every layer, and all constant tables in the order in which they are written."""
    parts = {
        name: layer_parts(name, layers[name], spec.obs_dim if name == "fc1" else layers[name].cols)
        for name in LAYERS
    }
    tables = []
    for name in LAYERS:
        for part in parts[name]:
            tables += part_tables(part, name)
        tables += _row_tables(name, layers[name], fixed)
    tables += hot_tables(hot_columns(layers["fc1"], spec.obs_dim))
    if fixed is not None:
        tables.append(Table("tanh", "int16_t", "tanh_table", tanh_table(), "tanh in Q15 at 0, 1/32, ... 8"))
    return parts, tables


def _row_tables(name: str, layer: Layer, fixed: FixedPointAgent | None) -> list[Table]:
    if fixed is None:
        return [Table(name, "float", f"{name}_bias", layer.bias, f"{name}: bias")]
    own = fixed.layers[name]
    return [
        Table(name, "int32_t", f"{name}_factor", own.factor, f"{name}: scale of each row, Q24"),
        Table(name, "int32_t", f"{name}_bias", own.bias, f"{name}: bias, in the output's shift"),
    ]


def _source(spec: AgentSpec, layers: Mapping[str, Layer], fixed: FixedPointAgent | None) -> str:
    integer = fixed is not None
    text = c_integer if integer else c_float
    parts, tables = all_tables(spec, layers, fixed)
    used = sorted({part.kernel for group in parts.values() for part in group})
    return "\n".join(
        [
            '#include "agent.h"\n\n#include <float.h>\n#include <limits.h>\n',
            text.CHECKS,
            *[table.text() for table in tables],
            *([c_integer.SCALED] if integer else []),
            *[kernel(name, integer) for name in used],
            *[_layer_function(name, parts[name], integer) for name in LAYERS],
            text.HOT,
            text.ACTIVATIONS,
            text.BODY,
            calls(integer),
        ]
    )


def _layer_function(name: str, parts: list[Part], integer: bool) -> str:
    """`agent_<layer>(x, y)`: one kernel call per part."""
    x, y = ("int16_t", "int32_t") if integer else ("float", "float")
    calls = []
    for part in parts:
        at = f" + {part.first}" if part.first else ""
        scale = f"agent_{name}_factor{at}, " if integer else ""
        rows = _ROWS[name] if len(parts) == 1 else str(part.rows)
        if isinstance(part.weights, Coded):
            tables = f"agent_{part.name}_weight, agent_{part.name}_count, agent_{part.name}_step"
        else:
            tables, rows = f"agent_{part.name}_weight", f"{rows}, {_COLS[name]}"
        calls.append(
            f"    agent_{part.kernel}({tables},\n        {scale}agent_{name}_bias{at}, {rows}, x, y{at});\n"
        )
    return f"static void agent_{name}(const {x} *x, {y} *y)\n{{\n{''.join(calls)}}}\n"


def _header(spec: AgentSpec, fixed: FixedPointAgent | None, digest: str | None) -> str:
    text = c_integer if fixed is not None else c_float
    sizes = [
        ("OBS_DIM", spec.obs_dim, ""),
        ("N_ACTIONS", spec.n_actions, ""),
        ("N_AGENTS", spec.n_agents, ""),
        ("HIDDEN_DIM", spec.hidden_dim, ""),
        ("INPUT_DIM", spec.input_dim, "observation, last action one-hot, agent id one-hot"),
    ]
    if fixed is not None:
        sizes += [
            ("FC1_SHIFT", fixed.fc1_shift, "fc1's output is times 2 to this, held below 32768"),
            ("Q_SHIFT", Q_SHIFT, "Q values are times 2 to this"),
        ]
    return _HEADER.format(
        kind="in float32" if fixed is None else "in integers only",
        origin="" if digest is None else f"\n   Made of the checkpoint whose index has SHA-256\n   {digest}.",
        include="" if fixed is None else "#include <stdint.h>\n\n",
        sizes="".join(
            f"#define AGENT_{name} {size}" + (f" /* {about} */\n" if about else "\n")
            for name, size, about in sizes
        ),
        state=text.HEADER_STATE,
        functions=text.HEADER_FUNCTIONS,
    )


_HEADER = """\
/* A trained recurrent agent {kind}. No malloc, no library calls, no globals: tables are constant and shared,
   the state is the caller's, so agents may run in as many threads as there are states. Build with
   -ffp-contract=off.{origin} */
#ifndef AGENT_H
#define AGENT_H

{include}{sizes}
#ifdef __cplusplus
extern "C" {{
#endif

{state}
/* Zero hidden state, no last action: the beginning of an episode. */
void agent_reset(agent_state *state, int agent_id);

{functions}
/* In agent_selftest.c: runs eight steps with known answers. Returns how many actions are right (8 = all) and
   writes the largest error of a Q value. */
int agent_selftest(float *worst);

#ifdef __cplusplus
}}
#endif

#endif
"""
