#define SET plain
#include "tiles_kernels.inc"
#include "panels_kernels.inc"
