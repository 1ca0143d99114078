/* SPDX-License-Identifier: Apache-2.0 */
/* Weights of a convolution move by a gradient that is never stored. */
#include "internal.h"

#if defined(INSITU_AVX2)

/* Bytes of windows that are gathered at a time: of all outputs, a block of columns. */
#define ROOM (1u << 18)
static __thread uint8_t windows[ROOM];

/* Columns start to start + count of the windows of all outputs, an output after the other. */
static void gather(const uint8_t *x, const insitu_conv *n, uint32_t start, uint32_t count)
{
    uint32_t kernel = n->r * n->s, j, p, q;

    for (j = 0; j < count; j++) {
        uint32_t at = (start + j) % kernel, left = at % n->s * n->dilation[1] - n->padding[1];
        const uint8_t *plane = x + (start + j) / kernel * n->h * n->w;
        uint8_t *to = windows + j;

        for (p = 0; p < n->p; p++) {
            uint32_t row = p * n->stride[0] + at / n->s * n->dilation[0] - n->padding[0], column = left;

            for (q = 0; q < n->q; q++, to += count, column += n->stride[1])
                *to = row < n->h && column < n->w ? plane[row * n->w + column] : (uint8_t)0;
        }
    }
}

/* One sample of bytes without groups: the gradient of a block of a row is a sum of windows. */
static int by_windows(insitu_mover *m, const insitu_array *d, const insitu_array *x, const insitu_conv *n)
{
    uint32_t columns = n->c * n->r * n->s, plane = n->p * n->q, start, count, row;
    int32_t sums[INSITU_BLOCK];

    if (n->batch != 1u || n->groups != 1u || !insitu_bytes(d) || !insitu_bytes(x) || plane > ROOM / 64u)
        return 0;
    for (start = 0; start < columns; start += count) {
        count = insitu_move_count(m, ROOM / plane < INSITU_BLOCK ? ROOM / plane : INSITU_BLOCK, columns - start);
        gather(x->data, n, start, count);
        insitu_move_columns(m, start, count);
        for (row = m->first; row < m->stop; row++) {
            insitu_move_row(m, row);
            insitu_weighted_rows(d->data + row * plane, 1, d->form == INSITU_SIGNED, windows, count, x->form == INSITU_SIGNED, plane,
                           count, sums);
            insitu_move_sums(m, row, sums, count);
        }
    }
    return 1;
}

#endif

void insitu_conv2d_dw_update(const insitu_array *d, const insitu_array *x, const insitu_array *e,
                             const insitu_array *w, const insitu_array *state, const insitu_conv *n,
                             const insitu_move *move, const insitu_clock *clock)
{
    insitu_mover m;
    uint32_t kernel = n->r * n->s, columns = n->c / n->groups * kernel, start, count, row, j;

    if (insitu_still(d, move))
        return;
    insitu_move_begin(&m, w, e, state, n->k, columns, 0, move, clock);
#if defined(INSITU_AVX2)
    if (by_windows(&m, d, x, n)) {
        insitu_move_end(&m);
        return;
    }
#endif
    for (start = 0; start < columns; start += count) {
        count = insitu_move_count(&m, INSITU_BLOCK, columns - start);
        insitu_move_columns(&m, start, count);
        for (row = m.first; row < m.stop; row++) {
            insitu_move_row(&m, row);
            for (j = 0; j < count; j++) {
                uint32_t c = (start + j) / kernel, at = (start + j) % kernel;

                insitu_move_weight(&m, row, j, insitu_conv_gradient(d, x, n, row, c, at / n->s, at % n->s));
            }
        }
    }
    insitu_move_end(&m);
}
