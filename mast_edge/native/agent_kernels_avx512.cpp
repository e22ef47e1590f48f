#ifdef MAST_EDGE_X86
#define SET avx512
#include "agent_kernels.inc"
#endif
