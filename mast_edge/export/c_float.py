"""The float variant of exported C, around its kernels and tables.

The activations and the order of every sum are those of `native/agent.cpp`: compiled with -ffp-contract=off,
the two agree to the bit.
"""

HEADER_STATE = """\
/* One agent's memory, owned by the caller. It has no pointers and may be copied. agent_reset comes first. */
typedef struct {
    float hidden[AGENT_HIDDEN_DIM];
    float q[AGENT_N_ACTIONS]; /* Q values of the latest act */
    int last_action;          /* -1 before the first act */
    int agent_id;             /* place in the team, 0..AGENT_N_AGENTS - 1 */
} agent_state;
"""

HEADER_FUNCTIONS = """\
/* One step: takes the agent's own observation (AGENT_OBS_DIM floats) and available actions (AGENT_N_ACTIONS
   bytes, nonzero = may be taken), advances the state, and returns the available action of largest Q, the
   lowest index on ties. Returns -1, and changes nothing, when no action is available. Values that are not
   finite are worth nothing, but do not stay: the state is finite after them. */
int agent_act(const float *obs, const unsigned char *avail, agent_state *state);

/* Writes the AGENT_N_ACTIONS Q values that agent_act would see now; nothing advances. */
void agent_q(const float *obs, const agent_state *state, float *q);

/* The bare network on an assembled row (AGENT_INPUT_DIM floats: observation, last action one-hot, agent id
   one-hot); `hidden` (AGENT_HIDDEN_DIM floats) advances, `q` (AGENT_N_ACTIONS floats) is written. */
void agent_step(const float *input, float *hidden, float *q);
"""

CHECKS = """\
/* Fails to compile where float is not IEEE 754 binary32 or int is narrower than 32 bits. */
typedef char agent_needs_binary32[FLT_RADIX == 2 && FLT_MANT_DIG == 24 && FLT_MAX_EXP == 128 ? 1 : -1];
typedef char agent_needs_32_bit_int[INT_MAX >= 2147483647 ? 1 : -1];
"""

ACTIVATIONS = """\
/* tanh(x) = x P(x^2) / Q(x^2) with |x| held at 7.9: off by at most 3.4e-7, the sigmoid by 1.9e-7. */
static float agent_tanh(float x)
{
    float u, p, q;
    x = x > -7.9f ? x : -7.9f;
    x = x < 7.9f ? x : 7.9f;
    u = x * x;
    p = u * -1.1676054e-13f + 6.3932346e-11f;
    p = p * u + -2.2348603e-08f;
    p = p * u + 1.1647021e-05f;
    p = p * u + 0.0031496137f;
    p = p * u + 0.13124521f;
    p = p * u + 1.0f;
    q = u * 0.00026134454f + 0.024675827f;
    q = q * u + 0.4645785f;
    q = q * u + 1.0f;
    return x * p / q;
}

static float agent_sigmoid(float x)
{
    return agent_tanh(x * 0.5f) * 0.5f + 0.5f;
}
"""

HOT = """\
/* Adds one one-hot column of fc1, times its input, to the sums `y`. */
static void agent_add_hot(int column, float input, float *y)
{
    unsigned k = agent_hot_start[column];
    const unsigned end = agent_hot_start[column + 1];
    for (; k < end; ++k) {
        y += agent_hot_step[k];
        *y += agent_hot_weight[k] * input;
    }
}
"""

BODY = """\
/* fc1 before its ReLU, for what agent_act knows. Indices that are out of range select no column. */
static void agent_see(const float *obs, const agent_state *state, float *sums)
{
    agent_fc1(obs, sums);
    if (state->last_action >= 0 && state->last_action < AGENT_N_ACTIONS)
        agent_add_hot(state->last_action, 1.0f, sums);
    if (state->agent_id >= 0 && state->agent_id < AGENT_N_AGENTS)
        agent_add_hot(AGENT_N_ACTIONS + state->agent_id, 1.0f, sums);
}

/* From the sums of fc1 to Q: ReLU, GRU cell (gates r, z, n), fc2. The sums stand at the beginning of `work`,
   which has room for the three gates. `next` may be `hidden`. */
static void agent_recur(float *work, const float *hidden, float *next, float *q)
{
    float from_input[3 * AGENT_HIDDEN_DIM];
    int i;
    for (i = 0; i < AGENT_HIDDEN_DIM; ++i)
        work[i] = work[i] > 0.0f ? work[i] : 0.0f;
    agent_gru_ih(work, from_input);
    agent_gru_hh(hidden, work);
    for (i = 0; i < AGENT_HIDDEN_DIM; ++i) {
        const float *in = from_input + i;
        const float *recurrent = work + i;
        const float reset = agent_sigmoid(in[0] + recurrent[0]);
        const float update = agent_sigmoid(in[AGENT_HIDDEN_DIM] + recurrent[AGENT_HIDDEN_DIM]);
        const float fresh = agent_tanh(in[2 * AGENT_HIDDEN_DIM] + reset * recurrent[2 * AGENT_HIDDEN_DIM]);
        next[i] = fresh + update * (hidden[i] - fresh);
    }
    agent_fc2(next, q);
}

void agent_reset(agent_state *state, int agent_id)
{
    /* volatile, so that no compiler makes these loops a call of memset */
    volatile float *at = state->hidden;
    int i;
    for (i = 0; i < AGENT_HIDDEN_DIM; ++i)
        at[i] = 0.0f;
    at = state->q;
    for (i = 0; i < AGENT_N_ACTIONS; ++i)
        at[i] = 0.0f;
    state->last_action = -1;
    state->agent_id = agent_id;
}

void agent_q(const float *obs, const agent_state *state, float *q)
{
    float work[3 * AGENT_HIDDEN_DIM];
    float next[AGENT_HIDDEN_DIM];
    agent_see(obs, state, work);
    agent_recur(work, state->hidden, next, q);
}
"""
