#if defined(__x86_64__) && defined(__GNUC__)
#define KERNELS kernels_v4
#define NAME "v4"
#include "panels_kernels.inc"
#endif
