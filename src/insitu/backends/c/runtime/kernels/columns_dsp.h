/* SPDX-License-Identifier: Apache-2.0 */
/* Bytes of a word as pairs of 16-bit integers, and four columns of a product, with the DSP extension of a Cortex-M. */
#ifndef INSITU_COLUMNS_DSP_H
#define INSITU_COLUMNS_DSP_H

/* The first and third byte of a word as two 16-bit integers; the second and fourth. */
INSITU_INLINE uint32_t unpack_even_bytes(uint32_t word, uint8_t is_signed)
{
    uint32_t out;

    if (is_signed)
        __asm__("sxtb16 %0, %1" : "=r"(out) : "r"(word));
    else
        __asm__("uxtb16 %0, %1" : "=r"(out) : "r"(word));
    return out;
}

INSITU_INLINE uint32_t unpack_odd_bytes(uint32_t word, uint8_t is_signed)
{
    uint32_t out;

    if (is_signed)
        __asm__("sxtb16 %0, %1, ror #8" : "=r"(out) : "r"(word));
    else
        __asm__("uxtb16 %0, %1, ror #8" : "=r"(out) : "r"(word));
    return out;
}

/* sums_j += error w_j */
INSITU_INLINE void add_products_of_4columns(const uint8_t *w, uint8_t w_signed, int32_t error, int32_t sums[4])
{
    uint32_t word = insitu_load32(w), a = unpack_even_bytes(word, w_signed), b = unpack_odd_bytes(word, w_signed);

    __asm__("smlabb %0, %1, %2, %0" : "+r"(sums[0]) : "r"(a), "r"(error));
    __asm__("smlabb %0, %1, %2, %0" : "+r"(sums[1]) : "r"(b), "r"(error));
    __asm__("smlatb %0, %1, %2, %0" : "+r"(sums[2]) : "r"(a), "r"(error));
    __asm__("smlatb %0, %1, %2, %0" : "+r"(sums[3]) : "r"(b), "r"(error));
}

#endif
