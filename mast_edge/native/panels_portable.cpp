#define KERNELS kernels_portable
#define NAME "portable"
#include "panels_kernels.inc"
