/* SPDX-License-Identifier: Apache-2.0 */
/* Weights of a dense layer of bytes move by one sample, with AVX2: whole rows where most inputs are not 0. */
#ifndef INSITU_MATMUL_DW_UPDATE_AVX2_H
#define INSITU_MATMUL_DW_UPDATE_AVX2_H

#include <immintrin.h>

/* The columns of a span whose input is not 0, or all of them if those are many. */
typedef struct {
    uint32_t count; /* of columns, a multiple of four */
    uint8_t whole;  /* all columns, side by side */
    int32_t x[INSITU_BLOCK];
    uint32_t word[INSITU_BLOCK];
    /* input in the low half, column in the high; then the column's random bits: those that rounding drops, or all */
    uint32_t pair[2u * SPAN];
} insitu_nonzero;

static void collect_bytes(insitu_nonzero *c, const insitu_mover *m, const uint8_t *x, uint8_t is_signed, uint32_t count,
                          uint32_t drop)
{
    uint32_t i, found = 0;
    uint8_t random = m->random, whole;

    for (i = 0; i < count; i++)
        found += x[i] != 0u;
    whole = c->whole = found * 16u >= count;
    found = 0;
    for (i = 0; i < count; i++)
        if (whole || x[i] != 0u) {
            uint32_t value = (uint32_t)insitu_byte(x, i, is_signed);
            uint32_t word = (random ? m->words[i] : 0x80000000u) >> drop; /* a half, if nothing is random */

            c->x[found] = (int32_t)value;
            c->word[found] = word;
            c->pair[2u * found] = i << 16 | (value & 0xFFFFu);
            c->pair[2u * found + 1u] = word;
            found++;
        }
    for (; (found & 3u) != 0u; found++)
        c->pair[2u * found] = c->pair[2u * found + 1u] = 0; /* column 0, moved by nothing */
    c->count = found;
}

/* The inputs of `count` columns from `start` on; a random word is shifted by `drop` to the right. */
static void collect_nonzero(insitu_nonzero *c, insitu_mover *m, const insitu_array *x, uint32_t start, uint32_t count,
                            uint32_t drop)
{
    uint8_t unpacked[SPAN]; /* inputs of fewer than 8 bits */
    uint32_t i;

    insitu_move_columns(m, start, count);
    if (insitu_bytes(x)) {
        collect_bytes(c, m, x->data + start, x->form == INSITU_SIGNED, count, drop);
        return;
    }
    for (i = 0; i < count; i++)
        unpacked[i] = (uint8_t)insitu_get(x, start + i);
    collect_bytes(c, m, unpacked, x->form != INSITU_UNSIGNED, count, drop);
}

/* Changes of 8 columns; x and d fit 16 bits. */
INSITU_INLINE __m256i changes_of_8columns(const insitu_nonzero *c, uint32_t i, __m256i d, __m256i word, __m128i k, __m128i drop)
{
    __m256i x = _mm256_loadu_si256((const __m256i *)(const void *)(c->x + i));
    __m256i r = _mm256_loadu_si256((const __m256i *)(const void *)(c->word + i));

    r = _mm256_srl_epi32(_mm256_xor_si256(r, word), drop);
    return _mm256_sra_epi32(_mm256_add_epi32(_mm256_madd_epi16(x, d), r), k);
}

/* The columns of a row that are side by side; 32 at a time where every change fits a byte. */
static uint32_t move_whole_row(const insitu_nonzero *c, uint8_t *w, int32_t d, uint32_t word, uint32_t k, uint32_t drop,
                            uint32_t count)
{
    __m256i dd = _mm256_set1_epi32(d & 0xFFFF), words = _mm256_set1_epi32((int32_t)word);
    __m256i order = _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7);
    __m128i kk = _mm_cvtsi32_si128((int32_t)k), off = _mm_cvtsi32_si128((int32_t)drop);
    uint32_t i = 0;

    if (!c->whole)
        return 0;
    for (; k >= 9u && i + 32u <= count; i += 32u) {
        __m256i a = _mm256_packs_epi32(changes_of_8columns(c, i, dd, words, kk, off), changes_of_8columns(c, i + 8u, dd, words, kk, off));
        __m256i b = _mm256_packs_epi32(changes_of_8columns(c, i + 16u, dd, words, kk, off), changes_of_8columns(c, i + 24u, dd, words, kk, off));
        __m256i change = _mm256_permutevar8x32_epi32(_mm256_packs_epi16(a, b), order), old;

        old = _mm256_subs_epi8(_mm256_loadu_si256((const __m256i *)(const void *)(w + i)), change);
        _mm256_storeu_si256((__m256i *)(void *)(w + i), old);
    }
    for (; i + 8u <= count; i += 8u) {
        __m256i change = changes_of_8columns(c, i, dd, words, kk, off), old;
        __m128i half;

        old = _mm256_cvtepi8_epi32(_mm_loadl_epi64((const __m128i *)(const void *)(w + i)));
        old = _mm256_sub_epi32(old, change);
        half = _mm_packs_epi32(_mm256_castsi256_si128(old), _mm256_extracti128_si256(old, 1));
        _mm_storel_epi64((__m128i *)(void *)(w + i), _mm_packs_epi16(half, half));
    }
    return i;
}

#endif
