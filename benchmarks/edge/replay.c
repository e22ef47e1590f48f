/* Plays the recorded observations and says what the agent did; each agent of the team has its own state.

   The lines, in order: `actions` and RECORDED_STEPS x AGENT_N_AGENTS numbers, `bits` and a digest (FNV-1a) over
   every hidden state and every Q value on the way, `selftest` with the right actions and the bits of the worst
   error, `stack` in bytes, `done`. */
#include "agent.h"
#include "harness.h"

int agent_selftest(float *worst);

static agent_state team[AGENT_N_AGENTS];
static unsigned long digest = 2166136261UL;

static void digest_bytes(const void *from, unsigned long n) {
    const unsigned char *bytes = from;
    for (unsigned long i = 0; i < n; i++) digest = ((digest ^ bytes[i]) * 16777619UL) & 0xFFFFFFFFUL;
}

static int act(unsigned long step, int id) {
    unsigned long row = step * AGENT_N_AGENTS + (unsigned long)id;
    if (recorded_first[step]) agent_reset(&team[id], id);
    return agent_act(&recorded_obs[row * AGENT_OBS_DIM], &recorded_avail[row * AGENT_N_ACTIONS], &team[id]);
}

static void replay(void) {
    put("actions");
    for (unsigned long step = 0; step < RECORDED_STEPS; step++)
        for (int id = 0; id < AGENT_N_AGENTS; id++) {
            int action = act(step, id);
            put(action < 0 ? " -" : " ");
            put_number((unsigned long)(action < 0 ? -action : action));
            digest_bytes(team[id].hidden, sizeof team[id].hidden);
            digest_bytes(team[id].q, sizeof team[id].q);
        }
    put("\nbits ");
    put_number(digest);
}

static void first_episode(void) {
    for (unsigned long step = 0; step < RECORDED_STEPS && (step == 0 || !recorded_first[step]); step++)
        (void)act(step, 0);
}

int main(void) {
    float worst = -1;
    unsigned int worst_bits;
    replay();
    put("\nselftest ");
    put_number((unsigned long)agent_selftest(&worst));
    __builtin_memcpy(&worst_bits, &worst, sizeof worst_bits);
    put(" ");
    put_number(worst_bits);
    long stack = stack_of(first_episode);
    put(stack < 0 ? "\nstack -" : "\nstack ");
    put_number((unsigned long)(stack < 0 ? -stack : stack));
    put("\ndone\n");
    return 0;
}
