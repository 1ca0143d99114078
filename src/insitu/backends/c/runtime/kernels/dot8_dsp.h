/* SPDX-License-Identifier: Apache-2.0 */
/* Products of rows of bytes with the DSP extension of a Cortex-M: two 16-bit products an instruction. */
#ifndef INSITU_DOT8_DSP_H
#define INSITU_DOT8_DSP_H

#include "columns_dsp.h"

/* sum + the two products of 16-bit integers */
INSITU_INLINE int32_t add_products_of_pairs(uint32_t x, uint32_t w, int32_t sum)
{
    int32_t out;

    __asm__("smlad %0, %1, %2, %3" : "=r"(out) : "r"(x), "r"(w), "r"(sum));
    return out;
}

INSITU_INLINE int32_t dot_1row(const uint8_t *x, const uint8_t *w, uint32_t n, uint8_t is_signed, int32_t sum)
{
    const uint8_t *wide = x + (n & ~7u), *narrow = x + (n & ~3u), *end = x + n;

    while (x != wide) {
        uint32_t a = insitu_load32(x), b = insitu_load32(w);

        sum = add_products_of_pairs(unpack_even_bytes(a, is_signed), unpack_even_bytes(b, 1), sum);
        sum = add_products_of_pairs(unpack_odd_bytes(a, is_signed), unpack_odd_bytes(b, 1), sum);
        a = insitu_load32(x + 4);
        b = insitu_load32(w + 4);
        sum = add_products_of_pairs(unpack_even_bytes(a, is_signed), unpack_even_bytes(b, 1), sum);
        sum = add_products_of_pairs(unpack_odd_bytes(a, is_signed), unpack_odd_bytes(b, 1), sum);
        x += 8;
        w += 8;
    }
    if (x != narrow) {
        uint32_t a = insitu_load32(x), b = insitu_load32(w);

        sum = add_products_of_pairs(unpack_even_bytes(a, is_signed), unpack_even_bytes(b, 1), sum);
        sum = add_products_of_pairs(unpack_odd_bytes(a, is_signed), unpack_odd_bytes(b, 1), sum);
        x += 4;
        w += 4;
    }
    while (x != end)
        sum += insitu_byte(x++, 0, is_signed) * (int8_t)*w++;
    return sum;
}

/* Four bytes of x and of two rows: 13 instructions for 8 products; the pointers move on. */
#define ADD_WORD(extend)                                                                                              \
    __asm__("ldr %[a], [%[x]], #4\n\tldr %[b], [%[w]], #4\n\tldr %[c], [%[v]], #4\n\t" extend                           \
            " %[e], %[a]\n\t" extend " %[a], %[a], ror #8\n\t"                                                        \
            "sxtb16 %[f], %[b]\n\tsmlad %[s], %[e], %[f], %[s]\n\t"                                                   \
            "sxtb16 %[b], %[b], ror #8\n\tsmlad %[s], %[a], %[b], %[s]\n\t"                                           \
            "sxtb16 %[f], %[c]\n\tsmlad %[t], %[e], %[f], %[t]\n\t"                                                   \
            "sxtb16 %[c], %[c], ror #8\n\tsmlad %[t], %[a], %[c], %[t]"                                               \
            : [x] "+r"(x), [w] "+r"(w), [v] "+r"(v), [s] "+r"(sum), [t] "+r"(more), [a] "=&r"(a), [b] "=&r"(b),        \
              [c] "=&r"(c), [e] "=&r"(e), [f] "=&r"(f)                                                                \
            :                                                                                                         \
            : "memory")

/* Two rows share the bytes of x. */
INSITU_INLINE void dot_2rows(const uint8_t *x, const uint8_t *w, uint32_t pitch, uint32_t n, uint8_t is_signed,
                             int32_t *out)
{
    const uint8_t *v = w + pitch, *wide = x + (n & ~15u), *narrow = x + (n & ~3u), *end = x + n;
    int32_t sum = 0, more = 0;
    uint32_t a, b, c, e, f;

    if (is_signed) {
        while (x != wide) {
            ADD_WORD("sxtb16");
            ADD_WORD("sxtb16");
            ADD_WORD("sxtb16");
            ADD_WORD("sxtb16");
        }
        while (x != narrow)
            ADD_WORD("sxtb16");
    } else {
        while (x != wide) {
            ADD_WORD("uxtb16");
            ADD_WORD("uxtb16");
            ADD_WORD("uxtb16");
            ADD_WORD("uxtb16");
        }
        while (x != narrow)
            ADD_WORD("uxtb16");
    }
    while (x != end) {
        int32_t last = insitu_byte(x++, 0, is_signed);

        sum += last * (int8_t)*w++;
        more += last * (int8_t)*v++;
    }
    out[0] = sum;
    out[1] = more;
}

INSITU_INLINE void dot_4rows(const uint8_t *x, const uint8_t *w, uint32_t pitch, uint32_t n, uint8_t is_signed,
                             int32_t *out)
{
    dot_2rows(x, w, pitch, n, is_signed, out);
    dot_2rows(x, w + 2u * pitch, pitch, n, is_signed, out + 2);
}

#endif
