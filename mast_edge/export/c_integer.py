"""The integer variant of exported C, around kernels and tables; `mast_edge.fixed_point` is its meaning."""

HEADER_STATE = """\
/* One agent's memory, owned by the caller. It has no pointers and may be copied. agent_reset comes first. */
typedef struct {
    int16_t hidden[AGENT_HIDDEN_DIM]; /* Q15 */
    int32_t q[AGENT_N_ACTIONS];       /* Q values of the latest act, Q16 */
    int last_action;                  /* -1 before the first act */
    int agent_id;                     /* place in the team, 0..AGENT_N_AGENTS - 1 */
} agent_state;
"""

HEADER_FUNCTIONS = """\
/* One step: takes the agent's own observation (AGENT_OBS_DIM floats) and available actions (AGENT_N_ACTIONS
   bytes, nonzero = may be taken), advances the state, and returns the available action of largest Q, the
   lowest index on ties. Returns -1, and changes nothing, when no action is available. The floats are
   read by integer operations, without floating-point unit or library: rounded to nearest, held within
   +-32767/16384, NaN read as 0. */
int agent_act(const float *obs, const unsigned char *avail, agent_state *state);

/* The same for observations in Q14: the value times 16384, held by the caller within int16. */
int agent_act_q14(const int16_t *obs, const unsigned char *avail, agent_state *state);

/* Writes the AGENT_N_ACTIONS Q values (Q16) that agent_act would see now; nothing advances. */
void agent_q(const float *obs, const agent_state *state, int32_t *q);

/* The bare network on an assembled row (AGENT_INPUT_DIM int16 in Q14: observation, last action one-hot, agent
   id one-hot, where a one is 16384); `hidden` (AGENT_HIDDEN_DIM, Q15) advances, `q` (AGENT_N_ACTIONS, Q16) is
   written. */
void agent_step(const int16_t *input, int16_t *hidden, int32_t *q);
"""

CHECKS = """\
/* Fails to compile where float is not IEEE 754 binary32, int is narrower than 32 bits, or >> of a negative
   number is not arithmetic, which C99 leaves open. */
typedef char agent_needs_binary32[FLT_RADIX == 2 && FLT_MANT_DIG == 24 && FLT_MAX_EXP == 128 ? 1 : -1];
typedef char agent_needs_32_bit_int[INT_MAX >= 2147483647 ? 1 : -1];
typedef char agent_needs_arithmetic_shift[((int32_t)-5 >> 1) == -3 && ((int64_t)-5 >> 1) == -3 ? 1 : -1];
"""

SCALED = """\
/* sum * factor / 2^24, rounded to nearest. The export made sure that the result fits. */
static int32_t agent_scaled(int32_t sum, int32_t factor)
{
    return (int32_t)(((int64_t)sum * factor + 8388608) >> 24);
}
"""

ACTIVATIONS = """\
/* tanh in Q15 of x in Q13, linear between table entries 1/32 apart; |x| is held below 8. */
static int32_t agent_tanh(int32_t x)
{
    int32_t size = x < 0 ? -x : x;
    const int16_t *at;
    if (size > 65535)
        size = 65535;
    at = agent_tanh_table + (size >> 8);
    size = at[0] + (((at[1] - at[0]) * (size & 255) + 128) >> 8);
    return x < 0 ? -size : size;
}

/* sigmoid in Q15 of x in Q12: 1/2 + tanh(x/2)/2, and x in Q12 is x/2 in Q13. */
static int32_t agent_sigmoid(int32_t x)
{
    return (32768 + agent_tanh(x)) >> 1;
}

/* A recurrent product in Q12, held within [-16, 16): times a gate in Q15 it fits int32. */
static int32_t agent_held(int32_t x)
{
    return x < -65536 ? -65536 : x > 65535 ? 65535 : x;
}
"""

HOT = """\
/* Adds one one-hot column of fc1, times its input in Q14, to the outputs `y`. */
static void agent_add_hot(int column, int32_t input, int32_t *y)
{
    const int32_t *factor = agent_fc1_factor;
    unsigned k = agent_hot_start[column];
    const unsigned end = agent_hot_start[column + 1];
    for (; k < end; ++k) {
        const unsigned step = agent_hot_step[k];
        y += step;
        factor += step;
        *y += agent_scaled(agent_hot_weight[k] * input, *factor);
    }
}
"""

BODY = """\
/* fc1 before its ReLU, for what agent_act knows. Indices that are out of range select no column. */
static void agent_see(const int16_t *obs, const agent_state *state, int32_t *sums)
{
    agent_fc1(obs, sums);
    if (state->last_action >= 0 && state->last_action < AGENT_N_ACTIONS)
        agent_add_hot(state->last_action, 16384, sums);
    if (state->agent_id >= 0 && state->agent_id < AGENT_N_AGENTS)
        agent_add_hot(AGENT_N_ACTIONS + state->agent_id, 16384, sums);
}

/* From the sums of fc1 to Q: ReLU, GRU cell (gates r, z, n), fc2. The sums stand at the beginning of `work`,
   which has room for the three gates. `next` may be `hidden`. */
static void agent_recur(int32_t *work, const int16_t *hidden, int16_t *next, int32_t *q)
{
    int32_t from_input[3 * AGENT_HIDDEN_DIM];
    int16_t x[AGENT_HIDDEN_DIM];
    int i;
    for (i = 0; i < AGENT_HIDDEN_DIM; ++i) {
        const int32_t sum = work[i];
        x[i] = (int16_t)(sum < 0 ? 0 : sum > 32767 ? 32767 : sum);
    }
    agent_gru_ih(x, from_input);
    agent_gru_hh(hidden, work);
    for (i = 0; i < AGENT_HIDDEN_DIM; ++i) {
        const int32_t *in = from_input + i;
        const int32_t *recurrent = work + i;
        const int32_t reset = agent_sigmoid(in[0] + recurrent[0]);
        const int32_t update = agent_sigmoid(in[AGENT_HIDDEN_DIM] + recurrent[AGENT_HIDDEN_DIM]);
        const int32_t product = reset * agent_held(recurrent[2 * AGENT_HIDDEN_DIM]);
        const int32_t fresh = agent_tanh(2 * (in[2 * AGENT_HIDDEN_DIM] + ((product + 16384) >> 15)));
        next[i] = (int16_t)(fresh + ((update * (hidden[i] - fresh) + 16384) >> 15));
    }
    agent_fc2(next, q);
}

/* Floats as Q14 integers, read from their bits: exponent and mantissa are those of IEEE 754. */
static void agent_read(const float *obs, int16_t *out)
{
    int i;
    for (i = 0; i < AGENT_OBS_DIM; ++i) {
        union {
            float value;
            uint32_t bits;
        } word;
        uint32_t exponent, mantissa, size;
        word.value = obs[i];
        exponent = word.bits >> 23 & 255u;
        mantissa = word.bits & 0x7fffffu;
        if (exponent >= 128)
            size = exponent == 255u && mantissa != 0 ? 0u : 32767u;
        else if (exponent < 112u)
            size = 0;
        else {
            const uint32_t shift = 136u - exponent;
            size = ((mantissa | 0x800000u) + (1u << (shift - 1u))) >> shift;
            if (size > 32767u)
                size = 32767u;
        }
        out[i] = (int16_t)(word.bits >> 31 ? -(int32_t)size : (int32_t)size);
    }
}

void agent_reset(agent_state *state, int agent_id)
{
    /* volatile, so that no compiler makes these loops a call of memset */
    volatile int16_t *hidden = state->hidden;
    volatile int32_t *q = state->q;
    int i;
    for (i = 0; i < AGENT_HIDDEN_DIM; ++i)
        hidden[i] = 0;
    for (i = 0; i < AGENT_N_ACTIONS; ++i)
        q[i] = 0;
    state->last_action = -1;
    state->agent_id = agent_id;
}

int agent_act(const float *obs, const unsigned char *avail, agent_state *state)
{
    int16_t seen[AGENT_OBS_DIM];
    agent_read(obs, seen);
    return agent_act_q14(seen, avail, state);
}

void agent_q(const float *obs, const agent_state *state, int32_t *q)
{
    int32_t work[3 * AGENT_HIDDEN_DIM];
    int16_t next[AGENT_HIDDEN_DIM];
    int16_t seen[AGENT_OBS_DIM];
    agent_read(obs, seen);
    agent_see(seen, state, work);
    agent_recur(work, state->hidden, next, q);
}
"""
