"""The calls of exported C that are the same in floats and in integers, but for their types."""

_CALLS = """\
int {act}(const {number} *obs, const unsigned char *avail, agent_state *state)
{{
    {total} work[3 * AGENT_HIDDEN_DIM];
    int best = 0;
    int action;
    while (best < AGENT_N_ACTIONS && avail[best] == 0)
        ++best;
    if (best == AGENT_N_ACTIONS)
        return -1;
    agent_see(obs, state, work);
    agent_recur(work, state->hidden, state->hidden, state->q);
    for (action = best + 1; action < AGENT_N_ACTIONS; ++action)
        if (avail[action] != 0 && state->q[action] > state->q[best])
            best = action;
    state->last_action = best;
    return best;
}}

void agent_step(const {number} *input, {number} *hidden, {total} *q)
{{
    {total} work[3 * AGENT_HIDDEN_DIM];
    int column;
    agent_fc1(input, work);
    for (column = 0; column < AGENT_N_ACTIONS + AGENT_N_AGENTS; ++column)
        if (input[AGENT_OBS_DIM + column] != {zero})
            agent_add_hot(column, input[AGENT_OBS_DIM + column], work);
    agent_recur(work, hidden, hidden, q);
}}
"""


def calls(integer: bool) -> str:
    """`agent_act` (integers: `agent_act_q14`) and `agent_step`."""
    if integer:
        return _CALLS.format(act="agent_act_q14", number="int16_t", total="int32_t", zero="0")
    return _CALLS.format(act="agent_act", number="float", total="float", zero="0.0f")
