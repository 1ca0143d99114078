/* SPDX-License-Identifier: Apache-2.0
 *
 * From start to main and back on an emulated board without any C library: .data, .bss, the four functions that GCC may
 * call by itself, print and exit by semihosting (Arm DUI 0471), and a report of faults. What is of one architecture alone
 * is in cortex_m.h and riscv.h.
 */
#include <stddef.h>

#include "semihost.h"

enum { SYS_WRITE0 = 0x04, SYS_EXIT_EXTENDED = 0x20, APPLICATION_EXIT = 0x20026, FAULTED = 255 };

/* A word of memory of any type. */
typedef uint32_t __attribute__((may_alias)) any_word;

/* From the linker script. */
extern uint32_t insitu_stack_limit[], insitu_stack_top[], insitu_data_image[], insitu_data_start[], insitu_data_end[],
    insitu_bss_start[], insitu_bss_end[];

int main(void);
void insitu_start(void);
void insitu_exit(int32_t status) __attribute__((noreturn));
void *memset(void *to, int value, size_t size);
void *memcpy(void *restrict to, const void *restrict from, size_t size);
void *memmove(void *to, const void *from, size_t size);
int memcmp(const void *a, const void *b, size_t size);

#ifdef __riscv
#include "riscv.h"
#else
#include "cortex_m.h"
#endif

/* --- semihosting --------------------------------------------------------------------------------------------- */

void print(const char *text) {
    host(SYS_WRITE0, text);
}

void print_hex(uint32_t value) {
    char text[9];
    for (uint32_t i = 0; i < 8; i++) text[i] = "0123456789abcdef"[(value >> (28 - 4 * i)) & 15];
    text[8] = 0;
    print(text);
}

void print_number(int32_t number) {
    char text[12], *at = text + 11;
    uint32_t left = number < 0 ? 0U - (uint32_t)number : (uint32_t)number;
    *at = 0;
    do *--at = (char)('0' + left % 10);
    while ((left /= 10) != 0);
    if (number < 0) *--at = '-';
    print(at);
}

/* A process has eight bits of status: what does not fit must not arrive as 0. */
void insitu_exit(int32_t status) {
    uint32_t block[2] = {APPLICATION_EXIT, status < 0 || status > 254 ? 255 : (uint32_t)status};
    for (;;) host(SYS_EXIT_EXTENDED, block);
}

/* --- start ------------------------------------------------------------------------------------------------- */

void insitu_start(void) {
    const uint32_t *from = insitu_data_image;
    enable();
    for (uint32_t *to = insitu_data_start; to < insitu_data_end;) *to++ = *from++;
    for (uint32_t *to = insitu_bss_start; to < insitu_bss_end;) *to++ = 0;
    insitu_exit(main());
}

/* --- what GCC may call by itself ------------------------------------------------------------------------------ */

static int in_words(uintptr_t a, uintptr_t b) {
    return ((a | b) & 3) == 0;
}

void *memset(void *to, int value, size_t size) {
    unsigned char *at = to;
    if (in_words((uintptr_t)at, 0)) {
        uint32_t four = (unsigned char)value * 0x01010101U;
        for (; size >= 4; size -= 4, at += 4) *(any_word *)(void *)at = four;
    }
    while (size--) *at++ = (unsigned char)value;
    return to;
}

void *memcpy(void *restrict to, const void *restrict from, size_t size) {
    unsigned char *at = to;
    const unsigned char *of = from;
    if (in_words((uintptr_t)at, (uintptr_t)of))
        for (; size >= 4; size -= 4, at += 4, of += 4) *(any_word *)(void *)at = *(const any_word *)(const void *)of;
    while (size--) *at++ = *of++;
    return to;
}

void *memmove(void *to, const void *from, size_t size) {
    unsigned char *at = to;
    const unsigned char *of = from;
    if ((uintptr_t)at <= (uintptr_t)of)
        for (; size; size--) *at++ = *of++;
    else
        while (size--) at[size] = of[size];
    return to;
}

int memcmp(const void *a, const void *b, size_t size) {
    const unsigned char *x = a, *y = b;
    for (; size; size--, x++, y++)
        if (*x != *y) return *x - *y;
    return 0;
}
