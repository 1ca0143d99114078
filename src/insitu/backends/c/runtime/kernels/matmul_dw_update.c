/* SPDX-License-Identifier: Apache-2.0 */
/* Weights of a dense layer move by a gradient that is never stored. */
#include "internal.h"

/* Where an input or an error is 0 so is the gradient, and rounding adds nothing: those weights are not visited. */
typedef struct {
    uint32_t count;           /* columns at hand, a multiple of four */
    int32_t low, high;        /* of a weight */
    uint8_t whole;            /* columns are side by side */
    int32_t x[INSITU_BLOCK];
    uint32_t word[INSITU_BLOCK]; /* random bits of the column: those that rounding drops, or all */
    uint16_t at[INSITU_BLOCK];
} insitu_columns;

/* The inputs of a block; a word is shifted by `drop` to the right. */
static void take(insitu_columns *c, const insitu_mover *m, const uint8_t *x, uint8_t is_signed, uint32_t count,
                 uint32_t drop)
{
    uint32_t i, some = 0;

#if defined(INSITU_AVX2)
    for (i = 0; i < count; i++)
        some += x[i] != 0u;
    c->whole = some * 16u >= count;
    some = 0;
#else
    c->whole = 0;
#endif
    for (i = 0; i < count; i++)
        if (c->whole || x[i] != 0u) {
            c->x[some] = insitu_byte(x, i, is_signed);
            c->word[some] = (m->random ? m->words[i] : 0x80000000u) >> drop; /* a half, if nothing is random */
            c->at[some++] = (uint16_t)i;
        }
    for (; (some & 3u) != 0u; some++) { /* moves nothing */
        c->x[some] = 0;
        c->word[some] = 0;
        c->at[some] = 0;
    }
    c->count = some;
}

static inline void move_by(const insitu_columns *c, uint8_t *w, int32_t change)
{
    *w = (uint8_t)insitu_clip((int8_t)*w - change, c->low, c->high);
}

/* (d x + random bits) >> k of column i */
static inline int32_t change_of(const insitu_columns *c, uint32_t i, int32_t d, uint32_t word, uint32_t k, uint32_t drop)
{
    return insitu_asr(d * c->x[i] + (int32_t)((c->word[i] ^ word) >> drop), k);
}

/* The columns of a row, one by one. */
static void row_by_one(const insitu_columns *c, uint8_t *w, int32_t d, uint32_t word, uint32_t k)
{
    const int32_t *x = c->x, *end = x + c->count;
    const uint32_t *words = c->word;
    int32_t a, b;

    for (; x != end; x += 4, words += 4) {
        const uint16_t *at;

        a = insitu_asr(d * x[0] + (int32_t)(words[0] ^ word), k);
        b = insitu_asr(d * x[1] + (int32_t)(words[1] ^ word), k);
        at = c->at + (x - c->x);
        if (a != 0)
            move_by(c, w + at[0], a);
        if (b != 0)
            move_by(c, w + at[1], b);
        a = insitu_asr(d * x[2] + (int32_t)(words[2] ^ word), k);
        b = insitu_asr(d * x[3] + (int32_t)(words[3] ^ word), k);
        if (a != 0)
            move_by(c, w + at[2], a);
        if (b != 0)
            move_by(c, w + at[3], b);
    }
}

#if defined(INSITU_AVX2)

#include <immintrin.h>

/* Changes of 8 columns; x and d fit 16 bits. */
static inline __m256i eight(const insitu_columns *c, uint32_t i, __m256i d, __m256i word, __m128i k, __m128i drop)
{
    __m256i x = _mm256_loadu_si256((const __m256i *)(const void *)(c->x + i));
    __m256i r = _mm256_loadu_si256((const __m256i *)(const void *)(c->word + i));

    r = _mm256_srl_epi32(_mm256_xor_si256(r, word), drop);
    return _mm256_sra_epi32(_mm256_add_epi32(_mm256_madd_epi16(x, d), r), k);
}

/* The columns of a row that are side by side; 32 at a time where every change fits a byte. */
static uint32_t row_by_many(const insitu_columns *c, uint8_t *w, int32_t d, uint32_t word, uint32_t k, uint32_t drop,
                            uint32_t count)
{
    __m256i dd = _mm256_set1_epi32(d & 0xFFFF), words = _mm256_set1_epi32((int32_t)word);
    __m256i low = _mm256_set1_epi8((char)c->low), high = _mm256_set1_epi8((char)c->high);
    __m256i order = _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7);
    __m128i kk = _mm_cvtsi32_si128((int32_t)k), off = _mm_cvtsi32_si128((int32_t)drop);
    uint32_t i = 0;

    for (; k >= 9u && i + 32u <= count; i += 32u) {
        __m256i a = _mm256_packs_epi32(eight(c, i, dd, words, kk, off), eight(c, i + 8u, dd, words, kk, off));
        __m256i b = _mm256_packs_epi32(eight(c, i + 16u, dd, words, kk, off), eight(c, i + 24u, dd, words, kk, off));
        __m256i change = _mm256_permutevar8x32_epi32(_mm256_packs_epi16(a, b), order), old;

        old = _mm256_subs_epi8(_mm256_loadu_si256((const __m256i *)(const void *)(w + i)), change);
        old = _mm256_min_epi8(_mm256_max_epi8(old, low), high);
        _mm256_storeu_si256((__m256i *)(void *)(w + i), old);
    }
    return i;
}

#endif

/* Bytes at batch 1, rounded stochastically or to nearest. */
static void by_bytes(insitu_mover *m, const insitu_array *d, const insitu_array *x, const insitu_dense *n)
{
    insitu_columns c;
    uint32_t start, count, row, i, k, word;
    uint32_t drop = m->move->channels == NULL ? 32u - (uint32_t)m->base : 0u; /* of the words, once for all rows */
    int32_t error;
    uint8_t *w;

    c.low = m->move->low;
    c.high = m->move->high;
    for (start = 0; start < n->inputs; start += count) {
        count = n->inputs - start < INSITU_BLOCK ? n->inputs - start : INSITU_BLOCK;
        insitu_move_columns(m, start, count);
        take(&c, m, x->data + start, x->form == INSITU_SIGNED, count, drop);
        for (row = 0; row < n->outputs && c.count > 0u; row++) {
            error = insitu_byte(d->data, row, d->form == INSITU_SIGNED);
            if (error == 0 && !m->move->lfsr) /* a register steps at every row */
                continue;
            insitu_move_row(m, row);
            if (error == 0)
                continue;
            k = (uint32_t)m->k;
            word = m->random ? m->row_word : 0u;
            w = m->w->data + row * n->inputs + start;
            i = 0;
#if defined(INSITU_AVX2)
            if (c.whole)
                i = row_by_many(&c, w, error, word >> drop, k, drop != 0u ? 0u : 32u - k, count);
#endif
            if (drop != 0u && i == 0u) {
                row_by_one(&c, w, error, word >> drop, k);
                continue;
            }
            for (; i < c.count; i++) {
                int32_t change = change_of(&c, i, error, word >> drop, k, drop != 0u ? 0u : 32u - k);

                if (change != 0)
                    move_by(&c, w + c.at[i], change);
            }
        }
    }
}

/* The general form: the gradient of a part of a row at a time. */
static void by_sums(insitu_mover *m, const insitu_array *d, const insitu_array *x, const insitu_dense *n)
{
    int fast = insitu_bytes(d) && insitu_bytes(x) && n->batch < INSITU_DOT / 4u;
    uint32_t start, count, row, j, b;
    int32_t sums[INSITU_BLOCK];

    for (start = 0; start < n->inputs; start += count) {
        count = n->inputs - start < INSITU_BLOCK ? n->inputs - start : INSITU_BLOCK;
        insitu_move_columns(m, start, count);
        for (row = m->first; row < m->stop; row++) {
            insitu_move_row(m, row);
            if (fast) {
                insitu_combine(d->data + row, n->outputs, d->form == INSITU_SIGNED, x->data + start, n->inputs,
                               x->form == INSITU_SIGNED, n->batch, count, sums);
                insitu_move_sums(m, row, sums, count);
                continue;
            }
            for (j = 0; j < count; j++) {
                int64_t g = 0;

                for (b = 0; b < n->batch; b++)
                    g += (int64_t)insitu_get(d, b * n->outputs + row) * insitu_get(x, b * n->inputs + start + j);
                insitu_move_weight(m, row, j, g);
            }
        }
    }
}

/* Can by_bytes do it? Then every sum on the way fits 32 bits. */
static int fits(const insitu_mover *m, const insitu_array *d, const insitu_array *x, const insitu_dense *n)
{
    const insitu_move *move = m->move;
    uint32_t row;

    if (n->batch != 1u || !insitu_bytes(d) || !insitu_bytes(x) || m->w->bits != 8u || m->w->form != INSITU_SIGNED ||
        (move->how != INSITU_MOVE_STOCHASTIC && move->how != INSITU_MOVE_THRESHOLD) || move->stride != 1u ||
        move->least > -32768 || move->most < 65535 || m->base < 1 || m->base > 30)
        return 0;
    for (row = 0; move->channels != NULL && row < n->outputs; row++)
        if (m->base + move->channels[row] < 1 || m->base + move->channels[row] > 30)
            return 0;
    return 1;
}

void insitu_matmul_dw_update(const insitu_array *d, const insitu_array *x, const insitu_array *e,
                             const insitu_array *w, const insitu_array *state, const insitu_dense *n,
                             const insitu_move *move, const insitu_clock *clock)
{
    insitu_mover m;

    insitu_move_begin(&m, w, e, state, n->outputs, n->inputs, 0, move, clock);
    if (fits(&m, d, x, n)) {
        by_bytes(&m, d, x, n);
        return;
    }
    by_sums(&m, d, x, n);
    insitu_move_end(&m);
}
