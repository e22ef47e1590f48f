#ifdef MAST_EDGE_X86
#define SET avx2
#include "agent_kernels.inc"
#endif
