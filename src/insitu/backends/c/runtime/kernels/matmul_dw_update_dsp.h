/* SPDX-License-Identifier: Apache-2.0 */
/* A weight's change with the DSP extension of a Cortex-M: one instruction multiplies and adds. */
#ifndef INSITU_MATMUL_DW_UPDATE_DSP_H
#define INSITU_MATMUL_DW_UPDATE_DSP_H

/* d x + random bits of a column, 2^k times what its weight moves by; the pointer goes to the next. */
INSITU_INLINE int32_t change_of(const uint32_t **pair, int32_t d, uint32_t word, uint32_t drop)
{
    const uint32_t *p = *pair;
    int32_t change;
    uint32_t x;

    if (drop != 0u) {
        *pair = p + 2;
        return (int16_t)p[0] * d + (int32_t)((p[1] ^ word) >> drop);
    }
    __asm__("ldrd %[x], %[c], [%[p]], #8\n\teor %[c], %[c], %[r]\n\tsmlabb %[c], %[x], %[d], %[c]"
            : [c] "=&r"(change), [x] "=&r"(x), [p] "+r"(p)
            : [r] "r"(word), [d] "r"(d)
            : "memory");
    *pair = p;
    return change;
}

#endif
