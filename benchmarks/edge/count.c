/* The acts whose instructions are counted, REPEATS times the same ones: the first COUNTED_STEPS of agent 0.

   Counted by difference between two values of REPEATS, so start-up falls out; this loop and agent_reset stay in. */
#include "agent.h"
#include "harness.h"

static agent_state state;
volatile int chosen;

int main(void) {
    for (int repeat = 0; repeat < REPEATS; repeat++) {
        agent_reset(&state, 0);
        for (unsigned long step = 0; step < COUNTED_STEPS; step++) {
            unsigned long row = step * AGENT_N_AGENTS;
            chosen = agent_act(&recorded_obs[row * AGENT_OBS_DIM], &recorded_avail[row * AGENT_N_ACTIONS], &state);
        }
    }
    return chosen < 0;
}
