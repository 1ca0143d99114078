/* SPDX-License-Identifier: Apache-2.0 */
/* The error of a dense layer's input, or an error times the first columns of a stored feedback matrix. */
#include "internal.h"

/* Sums of a block of columns, a row after the other: a row without an error costs nothing. */
static void by_rows(const insitu_array *d, const insitu_array *w, const insitu_dense *n, const insitu_read *read,
                    uint32_t b, uint32_t start, uint32_t count, int32_t *sums)
{
    uint32_t o, j;
#if defined(INSITU_NARROW)
    int8_t block[INSITU_BLOCK];
    int plain = insitu_plain(w, read);
#else
    (void)read;
#endif

    for (j = 0; j < count; j++)
        sums[j] = 0;
    for (o = 0; o < n->outputs; o++) {
        int32_t error = insitu_get(d, b * n->outputs + o);
        const int8_t *row = (const int8_t *)w->data + o * n->pitch + start;

        if (error == 0)
            continue;
#if defined(INSITU_NARROW)
        if (!plain) {
            insitu_unpack(w, o * n->pitch + start, count, read, block);
            row = block;
        }
#endif
        for (j = 0; j < count; j++)
            sums[j] += error * row[j];
    }
}

/* Sums become elements. */
static void finish(const insitu_array *e, uint32_t first, uint32_t count, int32_t *sums, const insitu_fit *end,
                   const insitu_clock *clock)
{
    uint32_t j;

#if defined(INSITU_AVX2)
    if (end->rounding == INSITU_EXACT && !end->limited) {
        int32_t low = end->low, high = end->high;

        for (j = 0; j < count; j++)
            sums[j] = insitu_clip(sums[j], low, high);
        insitu_set_many(e, first, count, sums);
        return;
    }
#endif
    for (j = 0; j < count; j++)
        insitu_finish(e, first + j, sums[j], end, clock);
}

void insitu_matmul_dx(const insitu_array *d, const insitu_array *w, const insitu_array *e, const insitu_dense *n,
                      const insitu_read *read, const insitu_fit *end, const insitu_clock *clock)
{
    uint32_t b, o, i, count;
    int fast = insitu_bytes(d) && insitu_plain(w, read) && n->outputs < INSITU_DOT;
    int rows = d->bits <= 8u && d->form != INSITU_REAL && (insitu_plain(w, read) || insitu_narrow(w, read)) &&
               n->outputs < INSITU_DOT;
    int32_t sums[INSITU_BLOCK];

    for (b = 0; b < n->batch; b++)
        for (i = 0; i < n->inputs; i += count) {
            count = 1;
            if (fast) {
                count = n->inputs - i < INSITU_BLOCK ? n->inputs - i : INSITU_BLOCK;
                insitu_weighted_rows(d->data + b * n->outputs, 1, d->form == INSITU_SIGNED, w->data + i, n->pitch, 1,
                               n->outputs, count, sums);
                finish(e, b * n->inputs + i, count, sums, end, clock);
            } else if (rows) {
                count = n->inputs - i < INSITU_BLOCK ? n->inputs - i : INSITU_BLOCK;
                by_rows(d, w, n, read, b, i, count, sums);
                finish(e, b * n->inputs + i, count, sums, end, clock);
            } else {
                int64_t sum = 0;

                for (o = 0; o < n->outputs; o++) {
                    int32_t error = insitu_get(d, b * n->outputs + o);

                    if (error != 0)
                        sum += (int64_t)error * insitu_weight(w, o * n->pitch + i, o, read);
                }
                insitu_finish(e, b * n->inputs + i, sum, end, clock);
            }
        }
}
