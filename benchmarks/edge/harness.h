/* What the two programs of the proof share: recorded episodes as constant data, and a way to say something.

   recorded.S holds the data, semihosting.c (bare Cortex-M) or hosted.c (a process) the rest. RECORDED_STEPS is
   set when compiling. */
#ifndef HARNESS_H
#define HARNESS_H

extern const float recorded_obs[];           /* RECORDED_STEPS x AGENT_N_AGENTS x AGENT_OBS_DIM */
extern const unsigned char recorded_avail[]; /* RECORDED_STEPS x AGENT_N_AGENTS x AGENT_N_ACTIONS */
extern const unsigned char recorded_first[]; /* RECORDED_STEPS: 1 where an episode begins */

void put(const char *text);
void put_number(unsigned long number);

/* Bytes of stack that `work` took, itself included; -1 where it cannot be known. */
long stack_of(void (*work)(void));

#endif
