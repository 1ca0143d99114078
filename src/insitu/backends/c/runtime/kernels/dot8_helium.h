/* SPDX-License-Identifier: Apache-2.0 */
/* Products of rows of bytes with Helium (MVE) of a Cortex-M55 and up: sixteen products an instruction.
 *
 * An instruction multiplies bytes of one signedness, and weights are signed: for unsigned bytes x it takes w + 128 and
 * the sum of x, of which 128 times is taken off at the end. Lanes behind the end of a row are loaded as 0.
 */
#ifndef INSITU_DOT8_HELIUM_H
#define INSITU_DOT8_HELIUM_H

#include <arm_mve.h>

#include "columns_dsp.h"

/* sum + x w for sixteen bytes; the pointer of the row moves on. */
#define ADD_SIGNED(sum, w)                                                                                            \
    __asm__("vldrb.8 %q[row], [%[at]], #16\n\tvmladava.s8 %[s], %q[row], %q[x]"                                       \
            : [row] "=&w"(row), [at] "+r"(w), [s] "+Te"(sum)                                                          \
            : [x] "w"(bytes)                                                                                          \
            : "memory")

/* sum + x (w + 128) */
#define ADD_UNSIGNED(sum, w)                                                                                          \
    __asm__("vldrb.8 %q[row], [%[at]], #16\n\tveor %q[row], %q[row], %q[m]\n\tvmladava.u8 %[s], %q[row], %q[x]"         \
            : [row] "=&w"(row), [at] "+r"(w), [s] "+Te"(sum)                                                          \
            : [x] "w"(bytes), [m] "w"(moved)                                                                          \
            : "memory")

/* The same for the last bytes of a row; of x there are zeros behind them, so the rows may be read as they are. */
INSITU_INLINE uint32_t add_last(uint8x16_t bytes, const uint8_t *w, mve_pred16_t there, uint8_t is_signed, uint32_t sum)
{
    uint8x16_t row = vldrbq_z_u8(w, there);

    if (is_signed)
        return (uint32_t)vmladavaq_s8((int32_t)sum, vreinterpretq_s8_u8(row), vreinterpretq_s8_u8(bytes));
    return vmladavaq_u8(sum, veorq_u8(row, vdupq_n_u8(0x80)), bytes);
}

INSITU_INLINE int32_t dot_1row(const uint8_t *x, const uint8_t *w, uint32_t n, uint8_t is_signed, int32_t first)
{
    uint32_t sum = (uint32_t)first, whole = 0;
    uint8x16_t bytes, row, moved = vdupq_n_u8(0x80);

    for (; n >= 16u; n -= 16u, x += 16) {
        bytes = vldrbq_u8(x);
        if (is_signed) {
            ADD_SIGNED(sum, w);
        } else {
            whole = vaddvaq_u8(whole, bytes);
            ADD_UNSIGNED(sum, w);
        }
    }
    if (n > 0u) {
        mve_pred16_t there = vctp8q(n);

        bytes = vldrbq_z_u8(x, there);
        whole = vaddvaq_u8(whole, bytes);
        sum = add_last(bytes, w, there, is_signed, sum);
    }
    return (int32_t)(is_signed ? sum : sum - 128u * whole);
}

INSITU_INLINE void dot_4rows(const uint8_t *x, const uint8_t *w, uint32_t pitch, uint32_t n, uint8_t is_signed,
                             int32_t *out)
{
    const uint8_t *a = w, *b = a + pitch, *c = b + pitch, *d = c + pitch;
    uint32_t sum_a = 0, sum_b = 0, sum_c = 0, sum_d = 0, whole = 0;
    uint8x16_t bytes, row, moved = vdupq_n_u8(0x80);

    for (; n >= 16u; n -= 16u, x += 16) {
        bytes = vldrbq_u8(x);
        if (is_signed) {
            ADD_SIGNED(sum_a, a);
            ADD_SIGNED(sum_b, b);
            ADD_SIGNED(sum_c, c);
            ADD_SIGNED(sum_d, d);
        } else {
            whole = vaddvaq_u8(whole, bytes);
            ADD_UNSIGNED(sum_a, a);
            ADD_UNSIGNED(sum_b, b);
            ADD_UNSIGNED(sum_c, c);
            ADD_UNSIGNED(sum_d, d);
        }
    }
    if (n > 0u) {
        mve_pred16_t there = vctp8q(n);

        bytes = vldrbq_z_u8(x, there);
        whole = vaddvaq_u8(whole, bytes);
        sum_a = add_last(bytes, a, there, is_signed, sum_a);
        sum_b = add_last(bytes, b, there, is_signed, sum_b);
        sum_c = add_last(bytes, c, there, is_signed, sum_c);
        sum_d = add_last(bytes, d, there, is_signed, sum_d);
    }
    whole = is_signed ? 0u : 128u * whole;
    out[0] = (int32_t)(sum_a - whole);
    out[1] = (int32_t)(sum_b - whole);
    out[2] = (int32_t)(sum_c - whole);
    out[3] = (int32_t)(sum_d - whole);
}

#undef ADD_SIGNED
#undef ADD_UNSIGNED

#endif
