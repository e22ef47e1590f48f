#ifdef MAST_EDGE_X86
#define SET avx512
#include "tiles_kernels.inc"
#include "panels_kernels.inc"
#endif
