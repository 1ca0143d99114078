/* SPDX-License-Identifier: Apache-2.0 */
/* Weights of a dense layer of bytes or less move by one sample, rounded stochastically or to nearest. */
#ifndef INSITU_MATMUL_DW_UPDATE_BYTES_H
#define INSITU_MATMUL_DW_UPDATE_BYTES_H

#include "internal.h"

/* Columns that a row passes through at a time: its word is made once for all of them. */
#if defined(INSITU_DSP)
#define SPAN (2u * INSITU_BLOCK)
#else
#define SPAN INSITU_BLOCK
#endif

#if defined(INSITU_AVX2)
#include "matmul_dw_update_avx2.h"
#else

/* The columns of a span whose input is not 0. Where an input or an error is 0 so is the gradient, and rounding adds
 * nothing: those weights are not visited. */
typedef struct {
    uint32_t count; /* of columns, a multiple of four */
    /* input in the low half, column in the high; then the column's random bits: those that rounding drops, or all */
    uint32_t pair[2u * SPAN];
} insitu_nonzero;

/* The inputs of `count` columns from `start` on; a random word is shifted by `drop` to the right. */
static void collect_nonzero(insitu_nonzero *c, insitu_mover *m, const insitu_array *x, uint32_t start, uint32_t count,
                            uint32_t drop)
{
    uint32_t i, found = 0;
    uint8_t random = m->random, bytes = (uint8_t)insitu_bytes(x), is_signed = x->form == INSITU_SIGNED;

    for (i = 0; i < count; i++) {
        int32_t value = bytes ? insitu_byte(x->data, start + i, is_signed) : insitu_get(x, start + i);

        if (i % INSITU_BLOCK == 0u)
            insitu_move_columns(m, start + i, count - i < INSITU_BLOCK ? count - i : INSITU_BLOCK);
        if (value == 0)
            continue;
        c->pair[2u * found] = i << 16 | ((uint32_t)value & 0xFFFFu);
        c->pair[2u * found + 1u] = (random ? m->words[i % INSITU_BLOCK] : 0x80000000u) >> drop; /* or a half */
        found++;
    }
    for (; (found & 3u) != 0u; found++)
        c->pair[2u * found] = c->pair[2u * found + 1u] = 0; /* column 0, moved by nothing */
    c->count = found;
}

/* How many of the columns a form for whole rows has moved. */
#define move_whole_row(c, w, d, word, k, drop, count) ((void)(count), 0u)

#endif

#if defined(INSITU_DSP)
#include "matmul_dw_update_dsp.h"
#else

/* d x + random bits of a column, 2^k times what its weight moves by; the pointer goes to the next. */
INSITU_INLINE int32_t change_of(const uint32_t **pair, int32_t d, uint32_t word, uint32_t drop)
{
    const uint32_t *p = *pair;

    *pair = p + 2;
    return (int16_t)p[0] * d + (int32_t)((p[1] ^ word) >> drop);
}

#endif

INSITU_INLINE void move_1weight(const uint32_t *pair, uint8_t *w, int32_t change)
{
    if (change == 0)
        return;
    w += pair[0] >> 16;
    *w = (uint8_t)insitu_clip((int8_t)*w - change, -128, 127);
}

/* Four columns: most often none of the weights moves. */
INSITU_INLINE const uint32_t *move_4weights(const uint32_t *pair, uint8_t *w, int32_t d, uint32_t word, uint32_t k,
                                         uint32_t drop)
{
    int32_t a = change_of(&pair, d, word, drop), b = change_of(&pair, d, word, drop);
    int32_t e = change_of(&pair, d, word, drop), f = change_of(&pair, d, word, drop);

    if (INSITU_RARE(insitu_asr(a | b | e | f, k) != 0)) {
        move_1weight(pair - 8, w, insitu_asr(a, k));
        move_1weight(pair - 6, w, insitu_asr(b, k));
        move_1weight(pair - 4, w, insitu_asr(e, k));
        move_1weight(pair - 2, w, insitu_asr(f, k));
    }
    return pair;
}

INSITU_INLINE void move_row(const insitu_nonzero *c, uint32_t first, uint8_t *w, int32_t d, uint32_t word, uint32_t k,
                              uint32_t drop)
{
    const uint32_t *pair = c->pair + 2u * first, *end = c->pair + 2u * c->count;

    if (((end - pair) & 8) != 0)
        pair = move_4weights(pair, w, d, word, k, drop);
    while (pair != end) {
        pair = move_4weights(pair, w, d, word, k, drop);
        pair = move_4weights(pair, w, d, word, k, drop);
    }
}

#if defined(INSITU_NARROW)
/* Words of fewer than 8 bits that have moved, saturated. */
static void pack_row(const insitu_mover *m, uint32_t start, uint32_t count, const int8_t *block)
{
    uint32_t i, j, bits = m->w->bits, mask = ((uint32_t)1 << bits) - 1u, word, got;
    int32_t low = m->move->low, high = m->move->high;

    for (i = 0; i < count && ((start + i) & 7u) != 0u; i++)
        insitu_set(m->w, start + i, insitu_clip(block[i], low, high));
    for (; i + 8u <= count; i += 8u) { /* eight words are `bits` bytes */
        uint8_t *p = m->w->data + ((start + i) >> 3) * bits;

        for (j = word = got = 0; j < 8u; j++) {
            word |= ((uint32_t)insitu_clip(block[i + j], low, high) & mask) << got;
            for (got += bits; got >= 8u; got -= 8u, word >>= 8)
                *p++ = (uint8_t)word;
        }
    }
    for (; i < count; i++)
        insitu_set(m->w, start + i, insitu_clip(block[i], low, high));
}
#endif

/* Row after row of a span. */
static void move_span(const insitu_nonzero *c, insitu_mover *m, const insitu_array *d, const insitu_dense *n,
                      uint32_t start, uint32_t count, uint32_t drop)
{
    const int8_t *channels = m->move->channels;
    uint8_t d_signed = d->form == INSITU_SIGNED, lfsr = m->move->lfsr, random = m->random;
    uint32_t inputs = n->inputs, key = random ? m->key : 0u, salt = random ? m->salt : 0u;
    uint32_t row, k = (uint32_t)m->base, word = 0, done;
    int bytes = insitu_bytes(d);
    int32_t error;
    uint8_t *w = m->w->data + start;
#if defined(INSITU_NARROW)
    int8_t *block = (int8_t *)m->words; /* which are at rest while rows move */
    int narrow = m->w->bits < 8u;
#endif

    for (row = 0; row < n->outputs; row++, w += inputs) {
        error = bytes ? insitu_byte(d->data, row, d_signed) : insitu_get(d, row);
        if (random && lfsr) {
            m->row_state = insitu_lfsr(m->row_state); /* at every row */
            word = m->row_state;
        }
        if (error == 0)
            continue;
        if (random && !lfsr)
            word = insitu_mixed(insitu_mixed(row + key) ^ salt);
        if (channels != NULL)
            k = (uint32_t)(m->base + channels[row]);
#if defined(INSITU_NARROW)
        if (narrow) {
            insitu_unpack(m->w, row * inputs + start, count, NULL, block);
            w = (uint8_t *)block;
        }
#endif
        done = move_whole_row(c, w, error, word >> drop, k, drop != 0u ? 0u : 32u - k, count);
        if (drop != 0u)
            move_row(c, done, w, error, word >> drop, k, 0);
        else
            move_row(c, done, w, error, word, k, 32u - k);
#if defined(INSITU_NARROW)
        if (narrow)
            pack_row(m, row * inputs + start, count, block);
#endif
    }
}

/* Bytes at batch 1, rounded stochastically or to nearest. */
INSITU_APART void update_by_bytes(insitu_mover *m, const insitu_array *d, const insitu_array *x, const insitu_dense *n)
{
    insitu_nonzero c;
    uint32_t start, count;
    uint32_t drop = m->move->channels == NULL ? 32u - (uint32_t)m->base : 0u; /* of the words, once for all rows */

    for (start = 0; start < n->inputs; start += count) {
        count = n->inputs - start < SPAN ? n->inputs - start : SPAN;
        collect_nonzero(&c, m, x, start, count, drop);
        if (c.count != 0u)
            move_span(&c, m, d, n, start, count, drop);
    }
}

/* Words of bytes that use all of their range, or of less. */
static int use_full_range(const insitu_mover *m)
{
#if defined(INSITU_NARROW)
    if (m->w->bits < 8u)
        return 1;
#endif
    return m->w->bits == 8u && m->move->low == -128 && m->move->high == 127;
}

/* Can update_by_bytes do it? Then every sum on the way fits 32 bits. */
static int fits_bytes(const insitu_mover *m, const insitu_array *d, const insitu_array *x, const insitu_dense *n)
{
    const insitu_move *move = m->move;
    uint32_t row;

    if (n->batch != 1u || d->bits > 8u || d->form == INSITU_REAL || x->bits > 8u || x->form == INSITU_REAL ||
        m->w->form != INSITU_SIGNED || move->rounding == INSITU_EXACT || move->stride != 1u || !use_full_range(m) || move->least > -32768 || move->most < 65535 || m->base < 1 || m->base > 30)
        return 0;
    for (row = 0; move->channels != NULL && row < n->outputs; row++)
        if (m->base + move->channels[row] < 1 || m->base + move->channels[row] > 30)
            return 0;
    return 1;
}

#endif
