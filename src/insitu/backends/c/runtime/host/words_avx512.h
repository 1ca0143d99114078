/* SPDX-License-Identifier: Apache-2.0 */
/* Packed words with AVX-512, eight at a time. */
#ifndef INSITU_WORDS_AVX512_H
#define INSITU_WORDS_AVX512_H

#include <immintrin.h>

/* Eight words are `bits` bytes, of which each is in four that are next to each other; returns how many words were read. */
static uint32_t unpack_8words(const uint8_t *p, uint32_t bits, uint32_t count, int32_t *to)
{
    __mmask32 some = ((__mmask32)1 << bits) - 1u;
    uint32_t bytes[8], left[8], i;
    __m256i order, up;
    __m128i down = _mm_cvtsi32_si128((int32_t)(32u - bits));

    for (i = 0; i < 8u; i++) {
        uint32_t skip = i * bits;

        bytes[i] = (skip >> 3) * 0x01010101u + 0x03020100u;
        left[i] = 32u - bits - (skip & 7u);
    }
    order = _mm256_loadu_si256((const __m256i *)(const void *)bytes);
    up = _mm256_loadu_si256((const __m256i *)(const void *)left);
    for (i = 0; i + 8u <= count; i += 8u, p += bits) {
        __m256i words = _mm256_permutexvar_epi8(order, _mm256_maskz_loadu_epi8(some, p));

        words = _mm256_sra_epi32(_mm256_sllv_epi32(words, up), down);
        _mm256_storeu_si256((__m256i *)(void *)(to + i), words);
    }
    return i;
}

#endif
