#if defined(__x86_64__) && defined(__GNUC__)
#define KERNELS kernels_v3
#define NAME "v3"
#include "panels_kernels.inc"
#endif
