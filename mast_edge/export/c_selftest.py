"""The self test of exported C: the golden steps (`mast_edge.golden`), their inputs made on the spot."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mast_edge.export.c_tables import Table, c_number
from mast_edge.golden import STEPS, TOLERANCE

_FLOAT = {
    **{"obs": "float", "q": "float", "act": "agent_act"},
    "value": "(float)((int)(draw >> 24 & 0xfeu) - 128) * 0x1p-7f",
    "error": "state.q[action] - agent_golden_q[AGENT_N_ACTIONS * t + action]",
}
_INTEGER = {
    **{"obs": "int16_t", "q": "int32_t", "act": "agent_act_q14"},
    "value": "(int16_t)(((int32_t)(draw >> 24 & 0xfeu) - 128) * 128)",
    "error": "(float)(state.q[action] - agent_golden_q[AGENT_N_ACTIONS * t + action]) * 0x1p-16f",
}

_SOURCE = """\
/* Self test of agent.c: eight recurrent steps with known answers. Their observations and available actions
   come from a 32-bit congruential generator, so that only the answers are stored. */
#include "agent.h"

#include <stdint.h>

#define AGENT_TIE {tie} /* a lead up to here is a tie: twice what a Q value may be off */

{tables}
static uint32_t agent_draw(uint32_t *generator)
{{
    *generator = *generator * 1664525u + 1013904223u;
    return *generator;
}}

int agent_selftest(float *worst)
{{
    {obs} obs[AGENT_OBS_DIM];
    unsigned char avail[AGENT_N_ACTIONS];
    agent_state state;
    uint32_t generator = 0x6d617374u;
    int t, right = 0;
    *worst = 0.0f;
    agent_reset(&state, 0);
    for (t = 0; t < {steps}; ++t) {{
        const int expected = agent_golden_action[t];
        int i, action;
        for (i = 0; i < AGENT_OBS_DIM; ++i) {{
            const uint32_t draw = agent_draw(&generator);
            obs[i] = {zero};
            if ((draw >> 23 & 1u) == 0)
                obs[i] = {value};
        }}
        for (i = 0; i < AGENT_N_ACTIONS; ++i)
            avail[i] = (unsigned char)(agent_draw(&generator) >> 31);
        avail[t % AGENT_N_ACTIONS] = 1;
        state.agent_id = t % AGENT_N_AGENTS;
        action = {act}(obs, avail, &state);
        if (action >= 0 && state.q[action] - state.q[expected] <= AGENT_TIE)
            ++right;
        state.last_action = expected;
        for (action = 0; action < AGENT_N_ACTIONS; ++action) {{
            const float error = {error};
            if (!(error <= *worst && -error <= *worst))
                *worst = error < 0.0f ? -error : error;
        }}
    }}
    return right;
}}
"""


def selftest_tolerance(golden_q: NDArray[Any]) -> float:
    """How far a float Q value may be off: TOLERANCE relative to the largest, absolute below 1."""
    return float(TOLERANCE * max(1.0, np.abs(golden_q).max()))


def selftest_source(golden_q: NDArray[Any], actions: Sequence[int], integer: bool) -> str:
    """`agent_selftest.c`.

    Args:
        golden_q: (8, A) expected Q: float32, or Q16 integers.
        actions: expected, fed back as last actions.
        integer: which variant.
    """
    words = _INTEGER if integer else _FLOAT
    action_type = "unsigned char" if max(actions) <= 0xFF else "int32_t"
    tie = "0" if integer else c_number(2 * selftest_tolerance(golden_q))
    tables = [
        Table("golden", words["q"], "golden_q", golden_q.ravel(), f"expected Q{', in Q16' * integer}"),
        Table("golden", action_type, "golden_action", actions, "expected actions"),
    ]
    text = "\n".join(table.text() for table in tables)
    return _SOURCE.format(tables=text, tie=tie, steps=STEPS, zero="0" if integer else "0.0f", **words)
