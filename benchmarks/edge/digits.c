#include "harness.h"

void put_number(unsigned long number) {
    char text[24];
    char *begin = text + sizeof text - 1;
    *begin = 0;
    do *--begin = (char)('0' + number % 10);
    while (number /= 10);
    put(begin);
}
