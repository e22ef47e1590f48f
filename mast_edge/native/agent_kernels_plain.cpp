#define SET plain
#include "agent_kernels.inc"
