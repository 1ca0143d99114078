/* SPDX-License-Identifier: Apache-2.0 */
/* Packed words of up to 25 bits with AVX2, eight at a time, which are `bits` bytes. */
#ifndef INSITU_WORDS_AVX2_H
#define INSITU_WORDS_AVX2_H

#include <immintrin.h>

/* A word is in four bytes that are next to each other; the second four words are loaded from their own first byte on. `end`
   is that of the array; returns how many words were read. */
static uint32_t unpack_words(const uint8_t *p, const uint8_t *end, uint32_t bits, int is_signed, uint32_t count, int32_t *to)
{
    const uint32_t half = 4u * bits >> 3;
    const __m128i down = _mm_cvtsi32_si128((int32_t)(32u - bits));
    uint32_t bytes[8], left[8], i;
    __m256i order, up;

    for (i = 0; i < 8u; i++) {
        const uint32_t skip = i * bits - (i < 4u ? 0u : 8u * half);

        bytes[i] = (skip >> 3) * 0x01010101u + 0x03020100u;
        left[i] = 32u - bits - (skip & 7u);
    }
    order = _mm256_loadu_si256((const __m256i *)(const void *)bytes);
    up = _mm256_loadu_si256((const __m256i *)(const void *)left);
    for (i = 0; i + 8u <= count && end - p >= (ptrdiff_t)(half + 16u); i += 8u, p += bits) {
        const __m128i low = _mm_loadu_si128((const __m128i *)(const void *)p);
        const __m128i high = _mm_loadu_si128((const __m128i *)(const void *)(p + half));
        const __m256i words = _mm256_sllv_epi32(_mm256_shuffle_epi8(_mm256_set_m128i(high, low), order), up);

        _mm256_storeu_si256((__m256i *)(void *)(to + i), is_signed ? _mm256_sra_epi32(words, down) : _mm256_srl_epi32(words, down));
    }
    return i;
}

/* Eight words of `from`, two in each. */
INSITU_INLINE void pairs_of_words(const int32_t *from, uint32_t bits, uint64_t pairs[4])
{
    const __m256i mask = _mm256_set1_epi32((int32_t)(((uint32_t)1 << bits) - 1u)), even = _mm256_set1_epi64x(0xFFFFFFFF);
    const __m256i words = _mm256_and_si256(_mm256_loadu_si256((const __m256i *)(const void *)from), mask);
    const __m256i odd = _mm256_sll_epi64(_mm256_srli_epi64(words, 32), _mm_cvtsi32_si128((int32_t)bits));

    _mm256_storeu_si256((__m256i *)(void *)pairs, _mm256_or_si256(_mm256_and_si256(words, even), odd));
}

/* Words of 16 to 25 bits: two of four bytes each do not meet in a half of 128 bits, nor do the other two. Returns how many
   were written: as many as are followed by 16 bytes of others. */
static uint32_t pack_wide_words(const int32_t *from, uint32_t bits, uint32_t count, uint8_t *p)
{
    const uint32_t half = 4u * bits >> 3;
    uint8_t place[2][32];
    uint32_t left[8], i, j;
    __m256i up, even, odd, mask;

    for (i = 0; i < 64u; i++)
        place[i / 32u][i % 32u] = 0x80u; /* a byte of 0 */
    for (i = 0; i < 8u; i++) {
        const uint32_t skip = i * bits - (i < 4u ? 0u : 8u * half);

        left[i] = skip & 7u;
        for (j = 0; j < 4u; j++)
            if ((skip >> 3) + j < 16u)
                place[i & 1u][(i & 4u) * 4u + (skip >> 3) + j] = (uint8_t)((i & 3u) * 4u + j);
    }
    up = _mm256_loadu_si256((const __m256i *)(const void *)left);
    even = _mm256_loadu_si256((const __m256i *)(const void *)place[0]);
    odd = _mm256_loadu_si256((const __m256i *)(const void *)place[1]);
    mask = _mm256_set1_epi32((int32_t)(((uint32_t)1 << bits) - 1u));
    for (i = 0; i + 16u <= count; i += 8u, p += bits) {
        const __m256i words = _mm256_loadu_si256((const __m256i *)(const void *)(from + i));
        const __m256i set = _mm256_sllv_epi32(_mm256_and_si256(words, mask), up);
        const __m256i bytes = _mm256_or_si256(_mm256_shuffle_epi8(set, even), _mm256_shuffle_epi8(set, odd));

        _mm_storeu_si128((__m128i *)(void *)p, _mm256_castsi256_si128(bytes)); /* its last bits may share a byte with the next */
        _mm_storeu_si128((__m128i *)(void *)(p + half), _mm_or_si128(_mm256_extracti128_si256(bytes, 1), _mm_cvtsi32_si128(p[half])));
    }
    return i;
}

/* Returns how many words were written: as many as are followed by 8 bytes of others. */
static uint32_t pack_words(const int32_t *from, uint32_t bits, uint32_t count, uint8_t *p)
{
    const uint32_t spare = 8u * ((7u + bits) / bits);
    uint64_t word = 0, pairs[4];
    uint32_t i, j, got = 0;

    for (i = 0; i + 8u + spare <= count; i += 8u) {
        pairs_of_words(from + i, bits, pairs);
        for (j = 0; j < 4u; j++) {
            word |= pairs[j] << got;
            insitu_store64(p, word);
            got += 2u * bits;
            p += got >> 3;
            word >>= got & ~7u;
            got &= 7u;
        }
    }
    return i;
}

#endif
