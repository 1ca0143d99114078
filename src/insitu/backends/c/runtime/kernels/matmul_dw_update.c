/* SPDX-License-Identifier: Apache-2.0 */
/* Weights of a dense layer move by a gradient that is never stored. */
#include "internal.h"

#if !defined(INSITU_SMALL)

/* Columns that a row passes through at a time: its word is made once for all of them. */
#if defined(INSITU_DSP)
#define SPAN (2u * INSITU_BLOCK)
#else
#define SPAN INSITU_BLOCK
#endif

/* Where an input or an error is 0 so is the gradient, and rounding adds nothing: those weights are not visited. */
typedef struct {
    uint32_t count; /* columns at hand, a multiple of four */
    uint8_t whole;  /* they are side by side */
#if defined(INSITU_AVX2)
    int32_t x[INSITU_BLOCK];
    uint32_t word[INSITU_BLOCK];
#endif
    /* input in the low half, column in the high; then the column's random bits: those that rounding drops, or all */
    uint32_t pair[2u * SPAN];
} insitu_columns;

/* The inputs of a block, `first` of the span, behind those at hand; a word is shifted by `drop` to the right. */
static void take(insitu_columns *c, const insitu_mover *m, const uint8_t *x, uint8_t is_signed, uint32_t first,
                 uint32_t count, uint32_t drop)
{
    uint32_t i, some = c->count;
    uint8_t all = 0, random = m->random;

#if defined(INSITU_AVX2)
    for (i = 0; i < count; i++)
        some += x[i] != 0u;
    all = some * 16u >= count;
    some = 0;
#endif
    c->whole = all;
    for (i = 0; i < count; i++)
        if (all || x[i] != 0u) {
            uint32_t value = (uint32_t)insitu_byte(x, i, is_signed);
            uint32_t word = (random ? m->words[i] : 0x80000000u) >> drop; /* a half, if nothing is random */

#if defined(INSITU_AVX2)
            c->x[some] = (int32_t)value;
            c->word[some] = word;
#endif
            c->pair[2u * some] = (first + i) << 16 | (value & 0xFFFFu);
            c->pair[2u * some + 1u] = word;
            some++;
        }
    for (; (some & 3u) != 0u; some++)
        c->pair[2u * some] = c->pair[2u * some + 1u] = 0; /* column 0, moved by nothing */
    c->count = some;
}

/* d x + random bits of a column, 2^k times what its weight moves by; the pointer goes to the next. */
INSITU_INLINE int32_t change_of(const uint32_t **pair, int32_t d, uint32_t word, uint32_t drop)
{
    const uint32_t *p = *pair;
    int32_t change;

#if defined(INSITU_DSP)
    if (drop == 0u) {
        uint32_t x;

        __asm__("ldrd %[x], %[c], [%[p]], #8\n\teor %[c], %[c], %[r]\n\tsmlabb %[c], %[x], %[d], %[c]"
                : [c] "=&r"(change), [x] "=&r"(x), [p] "+r"(p)
                : [r] "r"(word), [d] "r"(d)
                : "memory");
        *pair = p;
        return change;
    }
#endif
    change = (int16_t)p[0] * d + (int32_t)((p[1] ^ word) >> drop);
    *pair = p + 2;
    return change;
}

INSITU_INLINE void move_by(const uint32_t *pair, uint8_t *w, int32_t change)
{
    if (change == 0)
        return;
    w += pair[0] >> 16;
    *w = (uint8_t)insitu_clip((int8_t)*w - change, -128, 127);
}

/* Four columns: most often none of the weights moves. */
INSITU_INLINE const uint32_t *touch_four(const uint32_t *pair, uint8_t *w, int32_t d, uint32_t word, uint32_t k,
                                         uint32_t drop)
{
    int32_t a = change_of(&pair, d, word, drop), b = change_of(&pair, d, word, drop);
    int32_t e = change_of(&pair, d, word, drop), f = change_of(&pair, d, word, drop);

    if (INSITU_RARE(insitu_asr(a | b | e | f, k) != 0)) {
        move_by(pair - 8, w, insitu_asr(a, k));
        move_by(pair - 6, w, insitu_asr(b, k));
        move_by(pair - 4, w, insitu_asr(e, k));
        move_by(pair - 2, w, insitu_asr(f, k));
    }
    return pair;
}

INSITU_INLINE void row_by_one(const insitu_columns *c, uint32_t first, uint8_t *w, int32_t d, uint32_t word, uint32_t k,
                              uint32_t drop)
{
    const uint32_t *pair = c->pair + 2u * first, *end = c->pair + 2u * c->count;

    if (((end - pair) & 8) != 0)
        pair = touch_four(pair, w, d, word, k, drop);
    while (pair != end) {
        pair = touch_four(pair, w, d, word, k, drop);
        pair = touch_four(pair, w, d, word, k, drop);
    }
}

#if defined(INSITU_AVX2)

#include <immintrin.h>

/* Changes of 8 columns; x and d fit 16 bits. */
INSITU_INLINE __m256i eight(const insitu_columns *c, uint32_t i, __m256i d, __m256i word, __m128i k, __m128i drop)
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
    __m256i order = _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7);
    __m128i kk = _mm_cvtsi32_si128((int32_t)k), off = _mm_cvtsi32_si128((int32_t)drop);
    uint32_t i = 0;

    for (; k >= 9u && i + 32u <= count; i += 32u) {
        __m256i a = _mm256_packs_epi32(eight(c, i, dd, words, kk, off), eight(c, i + 8u, dd, words, kk, off));
        __m256i b = _mm256_packs_epi32(eight(c, i + 16u, dd, words, kk, off), eight(c, i + 24u, dd, words, kk, off));
        __m256i change = _mm256_permutevar8x32_epi32(_mm256_packs_epi16(a, b), order), old;

        old = _mm256_subs_epi8(_mm256_loadu_si256((const __m256i *)(const void *)(w + i)), change);
        _mm256_storeu_si256((__m256i *)(void *)(w + i), old);
    }
    for (; i + 8u <= count; i += 8u) {
        __m256i change = eight(c, i, dd, words, kk, off), old;
        __m128i half;

        old = _mm256_cvtepi8_epi32(_mm_loadl_epi64((const __m128i *)(const void *)(w + i)));
        old = _mm256_sub_epi32(old, change);
        half = _mm_packs_epi32(_mm256_castsi256_si128(old), _mm256_extracti128_si256(old, 1));
        _mm_storel_epi64((__m128i *)(void *)(w + i), _mm_packs_epi16(half, half));
    }
    return i;
}

#endif

#if defined(INSITU_NARROW)
/* Words of fewer than 8 bits that have moved, saturated. */
static void put_back(const insitu_mover *m, uint32_t start, uint32_t count, const int8_t *block)
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

/* The columns of a span with an input that is not 0, with their random words. */
static void collect_span(insitu_columns *c, insitu_mover *m, const insitu_array *x, uint32_t start, uint32_t count,
                         uint32_t drop)
{
    uint8_t unpacked[INSITU_BLOCK]; /* inputs of fewer than 8 bits */
    uint32_t part, some, i;

    c->count = 0;
    for (part = 0; part < count; part += some) {
        some = count - part < INSITU_BLOCK ? count - part : INSITU_BLOCK;
        insitu_move_columns(m, start + part, some);
        if (insitu_bytes(x)) {
            take(c, m, x->data + start + part, x->form == INSITU_SIGNED, part, some, drop);
            continue;
        }
        for (i = 0; i < some; i++)
            unpacked[i] = (uint8_t)insitu_get(x, start + part + i);
        take(c, m, unpacked, x->form != INSITU_UNSIGNED, part, some, drop);
    }
}

/* Row after row of a span. */
static void move_span(const insitu_columns *c, insitu_mover *m, const insitu_array *d, const insitu_dense *n,
                      uint32_t start, uint32_t count, uint32_t drop)
{
    const int8_t *channels = m->move->channels;
    uint8_t d_signed = d->form == INSITU_SIGNED, lfsr = m->move->lfsr, random = m->random;
    uint32_t inputs = n->inputs, key = random ? m->key : 0u, salt = random ? m->salt : 0u;
    uint32_t row, k = (uint32_t)m->base, word = 0, done = 0;
    int bytes = insitu_bytes(d);
    int32_t error;
    uint8_t *w = m->w->data + start;
#if defined(INSITU_NARROW)
    int8_t *block = (int8_t *)m->words; /* which are at rest while rows move */
    int narrow = m->w->bits < 8u;
#endif

    for (row = 0; row < n->outputs; row++, w += inputs) {
        error = bytes ? insitu_byte(d->data, row, d_signed) : insitu_get(d, row);
        if (random && lfsr)
            word = m->row_state = insitu_lfsr(m->row_state); /* at every row */
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
#if defined(INSITU_AVX2)
        done = c->whole ? row_by_many(c, w, error, word >> drop, k, drop != 0u ? 0u : 32u - k, count) : 0u;
#endif
        if (drop != 0u)
            row_by_one(c, done, w, error, word >> drop, k, 0);
        else
            row_by_one(c, done, w, error, word, k, 32u - k);
#if defined(INSITU_NARROW)
        if (narrow)
            put_back(m, row * inputs + start, count, block);
#endif
    }
}

/* Bytes at batch 1, rounded stochastically or to nearest. */
INSITU_APART void by_bytes(insitu_mover *m, const insitu_array *d, const insitu_array *x, const insitu_dense *n)
{
    insitu_columns c;
    uint32_t start, count;
    uint32_t drop = m->move->channels == NULL ? 32u - (uint32_t)m->base : 0u; /* of the words, once for all rows */

    for (start = 0; start < n->inputs; start += count) {
        count = n->inputs - start < SPAN ? n->inputs - start : SPAN;
        collect_span(&c, m, x, start, count, drop);
        if (c.count != 0u)
            move_span(&c, m, d, n, start, count, drop);
    }
}

/* Words of bytes that use all of their range, or of less. */
static int whole(const insitu_mover *m)
{
#if defined(INSITU_NARROW)
    if (m->w->bits < 8u)
        return 1;
#endif
    return m->w->bits == 8u && m->move->low == -128 && m->move->high == 127;
}

/* Can by_bytes do it? Then every sum on the way fits 32 bits. */
static int fits(const insitu_mover *m, const insitu_array *d, const insitu_array *x, const insitu_dense *n)
{
    const insitu_move *move = m->move;
    uint32_t row;

    if (n->batch != 1u || d->bits > 8u || d->form == INSITU_REAL || x->bits > 8u || x->form == INSITU_REAL || m->w->form != INSITU_SIGNED ||
        move->rounding == INSITU_EXACT || move->stride != 1u ||
        !whole(m) || move->least > -32768 || move->most < 65535 || m->base < 1 || m->base > 30)
        return 0;
    for (row = 0; move->channels != NULL && row < n->outputs; row++)
        if (m->base + move->channels[row] < 1 || m->base + move->channels[row] > 30)
            return 0;
    return 1;
}

#endif

/* The general form: the gradient of a part of a row at a time. */
INSITU_APART void by_sums(insitu_mover *m, const insitu_array *d, const insitu_array *x, const insitu_dense *n)
{
    int fast = insitu_bytes(d) && insitu_bytes(x) && n->batch < INSITU_DOT / 4u;
    uint32_t start, count, row, j, b;
    int32_t sums[INSITU_BLOCK];

    for (start = 0; start < n->inputs; start += count) {
        count = insitu_move_count(m, INSITU_BLOCK, n->inputs - start);
        insitu_move_columns(m, start, count);
        for (row = m->first; row < m->stop; row++) {
            insitu_move_row(m, row);
            if (n->batch == 1u && m->move->zero_is_noop && insitu_get(d, row) == 0)
                continue;
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

void insitu_matmul_dw_update(const insitu_array *d, const insitu_array *x, const insitu_array *e,
                             const insitu_array *w, const insitu_array *state, const insitu_dense *n,
                             const insitu_move *move, const insitu_clock *clock)
{
    insitu_mover m;

    if (insitu_still(d, move))
        return;
    insitu_move_begin(&m, w, e, state, n->outputs, n->inputs, 0, move, clock);
#if !defined(INSITU_SMALL)
    if (fits(&m, d, x, n)) {
#if defined(INSITU_AVX512)
        if (insitu_move_many(&m, d, x, n))
            return;
#endif
        by_bytes(&m, d, x, n);
        return;
    }
#endif
    by_sums(&m, d, x, n);
    insitu_move_end(&m);
}
