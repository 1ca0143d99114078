/* SPDX-License-Identifier: Apache-2.0 */
/* Weights of a dense layer of bytes move by one sample, with AVX-512. */
#ifndef INSITU_MATMUL_DW_UPDATE_AVX512_H
#define INSITU_MATMUL_DW_UPDATE_AVX512_H

#include <immintrin.h>

#define WIDE 64u /* columns of a block, lanes of a group */
#define BLOCKS (INSITU_BLOCK / WIDE)
#define AHEAD 16u /* rows whose random words are made at once */

/* Only columns with an input take part: side by side they fill groups of lanes. Changes are made a group at a time, then
 * sent back to the columns. That by x d and a random word r is the one by |x| |d| and r inverted, negated, if x d < 0:
 *
 *     floor((r - a) / 2^k) = -floor((2^k - 1 - r + a) / 2^k)
 *
 * So all is unsigned, and 16 bits are enough: up to k = 15 they hold |x| |d| + r. Beyond that a change is 0 or 1, and 1
 * where the low 16 bits of r + |x| |d| carry and those of r above are ones. */
typedef struct {
    __attribute__((aligned(64))) uint16_t x[INSITU_BLOCK]; /* sizes of inputs; no load of lanes crosses a line */
    uint16_t low[INSITU_BLOCK];  /* random bits */
    uint16_t high[INSITU_BLOCK]; /* those above 16 */
    uint8_t from[INSITU_BLOCK];  /* the lane of a column, counted from the group before that of the last one of its block */
    uint64_t some[BLOCKS];       /* columns of a block */
    uint64_t minus[BLOCKS];      /* lanes of a group whose input is below 0 */
    uint8_t at[BLOCKS];          /* of a block: its place in the row */
    uint8_t end[BLOCKS];         /* of a group: the number of blocks that it completes, and those before */
    uint32_t groups;
} insitu_groups;

#define SELDOM 21u /* beyond this shift most groups move nothing: looking for it costs less than moving by 0 */

enum { FINE, COARSE, RARE }; /* k up to 15, 16, more */

/* Where a lane's 16 bits lie, so that packing two vectors puts their low byte at its place. */
INSITU_INLINE uint32_t place_of(uint32_t lane)
{
    return (lane & ~(WIDE - 1u)) + (lane & 8u) * 4u + (lane >> 4 & 3u) * 8u + (lane & 7u);
}

INSITU_INLINE uint32_t low_bits(uint32_t word, uint32_t k)
{
    return word >> (32u - k) & 0xFFFFu;
}

INSITU_INLINE uint32_t high_bits(uint32_t word, uint32_t k)
{
    return k > 16u ? word >> (48u - k) : 0u;
}

static void collect_groups(insitu_groups *c, const insitu_mover *m, const uint8_t *x, uint8_t is_signed, uint32_t count, uint32_t k)
{
    uint32_t start, blocks = 0, lane = 0, i;

    for (start = 0; start < count; start += WIDE) {
        __mmask64 all = ~(__mmask64)0 >> (count - start < WIDE ? WIDE - (count - start) : 0u);
        __m512i bytes = _mm512_maskz_loadu_epi8(all, x + start);
        uint64_t left = _mm512_test_epi8_mask(bytes, bytes);
        uint32_t last;

        if (left == 0u)
            continue;
        last = (lane + (uint32_t)__builtin_popcountll(left) - 1u) / WIDE;
        c->some[blocks] = left;
        c->at[blocks] = (uint8_t)(start / WIDE);
        for (; left != 0u; left &= left - 1u, lane++) {
            uint32_t column = (uint32_t)__builtin_ctzll(left), place = place_of(lane), group = lane / WIDE;
            int32_t value = insitu_byte(x, start + column, is_signed);
            uint32_t word = m->random ? m->words[start + column] : 0x80000000u; /* a half, if nothing is random */

            if (lane % WIDE == 0u) {
                c->minus[group] = 0;
                c->end[group] = (uint8_t)blocks;
            }
            if (value < 0) {
                value = -value;
                word = ~word;
                c->minus[group] |= (uint64_t)1 << lane % WIDE;
            }
            c->from[blocks * WIDE + column] = (uint8_t)(lane + WIDE - last * WIDE);
            c->x[place] = (uint16_t)value;
            c->low[place] = (uint16_t)low_bits(word, k);
            c->high[place] = (uint16_t)high_bits(word, k);
        }
        c->end[last] = (uint8_t)++blocks;
    }
    c->groups = (lane + WIDE - 1u) / WIDE;
    for (i = lane; i < c->groups * WIDE; i++)
        c->x[place_of(i)] = c->low[place_of(i)] = c->high[place_of(i)] = 0; /* moved by nothing */
}

/* What is the same in all of a row. */
typedef struct {
    __m512i d, low, high, one, flip;
    __m128i k;
} insitu_row;

/* Changes of 32 lanes in 16 bits. */
INSITU_INLINE __m512i changes_of_32lanes(const insitu_groups *c, uint32_t place, const insitu_row *row, int form)
{
    __m512i r = _mm512_xor_si512(_mm512_loadu_si512(c->low + place), row->low);
    __m512i sum = _mm512_add_epi16(_mm512_mullo_epi16(_mm512_loadu_si512(c->x + place), row->d), r);
    __mmask32 ones;

    if (form == FINE)
        return _mm512_srl_epi16(sum, row->k);
    if (form == COARSE)
        return _mm512_maskz_mov_epi16(_mm512_cmplt_epu16_mask(sum, r), row->one);
    ones = _mm512_cmpeq_epi16_mask(_mm512_loadu_si512(c->high + place), row->high);
    return _mm512_maskz_mov_epi16(_mm512_mask_cmplt_epu16_mask(ones, sum, r), row->one);
}

/* All of a row; its last block is `tail`, of columns `size`, if it is not a whole one. */
INSITU_INLINE void move_row_of_groups(const insitu_groups *c, uint8_t *w, int32_t d, uint32_t word, uint32_t k, uint32_t tail,
                            __mmask64 size, uint8_t is_signed, int form)
{
    uint32_t random = d < 0 ? ~word : word, ones = k > 16u ? ((uint32_t)1 << (k - 16u)) - 1u : 0u, g, b = 0;
    __m512i change = _mm512_setzero_si512(), before;
    insitu_row row;

    row.d = _mm512_set1_epi16((int16_t)(d < 0 ? -d : d));
    row.low = _mm512_set1_epi16((int16_t)low_bits(random, k));
    row.high = _mm512_set1_epi16((int16_t)(high_bits(random, k) ^ ones));
    row.one = _mm512_set1_epi16(d < 0 ? -1 : 1);
    row.flip = _mm512_set1_epi8(d < 0 ? -1 : 0);
    row.k = _mm_cvtsi32_si128((int32_t)k);
    for (g = 0; g < c->groups; g++) {
        before = change;
        change = _mm512_packs_epi16(changes_of_32lanes(c, g * WIDE, &row, form), changes_of_32lanes(c, g * WIDE + WIDE / 2u, &row, form));
        if (form == RARE && k > SELDOM && b < c->end[g] && _mm512_test_epi8_mask(change, change) == 0u &&
            _mm512_test_epi8_mask(before, before) == 0u) {
            b = c->end[g];
            continue;
        }
        if (form == FINE)
            change = _mm512_sub_epi8(_mm512_xor_si512(change, row.flip), row.flip);
        if (is_signed)
            change = _mm512_mask_sub_epi8(change, c->minus[g], _mm512_setzero_si512(), change);
        for (; b < c->end[g]; b++) {
            uint8_t *p = w + c->at[b] * WIDE;
            __m512i from = _mm512_loadu_si512(c->from + b * WIDE);
            __m512i by = _mm512_maskz_permutex2var_epi8(c->some[b], before, from, change);

            if (INSITU_RARE(c->at[b] == tail))
                _mm512_mask_storeu_epi8(p, size, _mm512_subs_epi8(_mm512_maskz_loadu_epi8(size, p), by));
            else
                _mm512_storeu_si512(p, _mm512_subs_epi8(_mm512_loadu_si512(p), by));
        }
    }
}

/* All weights, of 8 bits, by one sample; 0 if that is not for it. */
static int update_by_groups(insitu_mover *m, const insitu_array *d, const insitu_array *x, const insitu_dense *n)
{
    insitu_groups c;
    uint8_t unpacked[INSITU_BLOCK], lfsr = m->move->lfsr, random = m->random, is_signed = x->form != INSITU_UNSIGNED;
    uint32_t words[AHEAD] = {0}, start, count, row, i, k = (uint32_t)m->base, key = m->key, salt = m->salt;

    if (m->move->channels != NULL || m->w->bits != 8u || d->form == INSITU_UNSIGNED || k < 9u)
        return 0;
    for (start = 0; start < n->inputs; start += count) {
        const uint8_t *from = x->data + start;
        uint8_t *w = m->w->data + start;
        uint32_t tail;
        __mmask64 size;

        count = n->inputs - start < INSITU_BLOCK ? n->inputs - start : INSITU_BLOCK;
        tail = count % WIDE != 0u ? count / WIDE : BLOCKS;
        size = ((__mmask64)1 << count % WIDE) - 1u;
        insitu_move_columns(m, start, count);
        if (!insitu_bytes(x)) { /* of fewer bits */
            for (i = 0; i < count; i++)
                unpacked[i] = (uint8_t)insitu_get(x, start + i);
            from = unpacked;
        }
        collect_groups(&c, m, from, is_signed, count, k);
        for (row = 0; row < n->outputs && c.groups > 0u; row++, w += n->inputs) {
            int32_t error = insitu_bytes(d) ? (int8_t)d->data[row] : insitu_get(d, row);
            uint32_t *word = words + row % AHEAD;

            if (random && lfsr)
                *word = m->row_state = insitu_lfsr(m->row_state);
            else if (random && row % AHEAD == 0u)
                for (i = 0; i < AHEAD; i++)
                    words[i] = insitu_mixed(insitu_mixed(row + i + key) ^ salt);
            if (error == 0)
                continue;
            if (k > 16u)
                move_row_of_groups(&c, w, error, *word, k, tail, size, is_signed, RARE);
            else if (k == 16u)
                move_row_of_groups(&c, w, error, *word, k, tail, size, is_signed, COARSE);
            else
                move_row_of_groups(&c, w, error, *word, k, tail, size, is_signed, FINE);
        }
    }
    return 1;
}

#endif
