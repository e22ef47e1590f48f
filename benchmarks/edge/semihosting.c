/* The harness on a bare Cortex-M under QEMU: vectors, start-up, output by semihosting, a painted stack. */
#include "harness.h"

int main(void);

extern unsigned int data_begin[], data_end[], data_in_flash[], bss_begin[], bss_end[], stack_low[], stack_top[];

enum { SYS_WRITE0 = 0x04, SYS_EXIT = 0x18, APPLICATION_EXIT = 0x20026, INTERNAL_ERROR = 0x20024 };
#define PAINT 0xA5C3E187u

static void semihost(unsigned int call, unsigned int argument) {
    register unsigned int r0 __asm("r0") = call;
    register unsigned int r1 __asm("r1") = argument;
    __asm volatile("bkpt 0xAB" : "+r"(r0) : "r"(r1) : "memory");
}

void put(const char *text) { semihost(SYS_WRITE0, (unsigned int)text); }

static void leave(int failed) {
    for (;;) semihost(SYS_EXIT, failed ? INTERNAL_ERROR : APPLICATION_EXIT);
}

static void fault(void) {
    put("\nfault\n");
    leave(1);
}

/* Apart from `reset`: the compiler may not move a float instruction before the FPU is on. */
__attribute__((noinline)) static void run(void) {
    unsigned int *from = data_in_flash, *to;
    for (to = data_begin; to < data_end;) *to++ = *from++;
    for (to = bss_begin; to < bss_end;) *to++ = 0;
    leave(main());
}

static void reset(void) {
#ifdef __ARM_FP
    *(volatile unsigned int *)0xE000ED88u |= 0xFu << 20; /* CPACR: coprocessors 10 and 11 */
    __asm volatile("dsb\n isb" ::: "memory");
#endif
    run();
}

__attribute__((section(".vectors"), used)) static const void *const vectors[16] = {
    stack_top,     (void *)reset, (void *)fault, (void *)fault, (void *)fault, (void *)fault,
    (void *)fault, (void *)fault, (void *)fault, (void *)fault, (void *)fault, (void *)fault,
    (void *)fault, (void *)fault, (void *)fault, (void *)fault};

__attribute__((noinline)) long stack_of(void (*work)(void)) {
    unsigned int *here, *lowest = stack_low;
    __asm volatile("mov %0, sp" : "=r"(here));
    for (unsigned int *word = stack_low; word < here; word++) *(volatile unsigned int *)word = PAINT;
    work();
    while (lowest < here && *(volatile unsigned int *)lowest == PAINT) lowest++;
    return lowest == stack_low ? -1 : (long)((char *)here - (char *)lowest);
}
