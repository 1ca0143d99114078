/* SPDX-License-Identifier: Apache-2.0 */
/* Weights of a convolution move by the errors of a pooled map: of the map of errors a channel is made at a time. */
#include "internal.h"

#if defined(INSITU_HOST)
#include "conv.h"
#endif

/* A window of errors, and where a weight's inputs begin: y, x from those of output 0, planes of the sample and channel. */
typedef struct {
    uint32_t rows, columns, y, x, plane_x, plane_h;
} insitu_window;

/* The sum of x over the open elements of the window of d whose first element is p, q. */
static int32_t open_sum(const insitu_array *h, const insitu_array *x, const insitu_conv *n, const insitu_window *at,
                        uint32_t p, uint32_t q)
{
    const int bytes = insitu_bytes(h) && insitu_bytes(x);
    const uint8_t h_signed = h->form == INSITU_SIGNED, x_signed = x->form == INSITU_SIGNED;
    uint32_t i, j, y = p * n->stride[0] + at->y, from, to;
    int32_t sum = 0;

    for (i = 0; i < at->rows; i++, y += n->stride[0]) {
        uint32_t left = q * n->stride[1] + at->x;

        if (y >= n->h)
            continue;
        from = at->plane_x + y * n->w;
        to = at->plane_h + (p + i) * n->q + q;
        for (j = 0; j < at->columns; j++, left += n->stride[1]) {
            if (left >= n->w)
                continue;
            if (bytes)
                sum += insitu_byte(h->data, to + j, h_signed) > 0 ? insitu_byte(x->data, from + left, x_signed) : 0;
            else
                sum += insitu_get(h, to + j) > 0 ? insitu_get(x, from + left) : 0;
        }
    }
    return sum;
}

/* Of the weight of output k and, in its group, input c at r, s of the kernel. */
static int64_t gradient(const insitu_array *d, const insitu_array *h, const insitu_array *x, const insitu_conv *n,
                        insitu_window *at, uint32_t k, uint32_t c)
{
    const uint32_t channel = k / (n->k / n->groups) * (n->c / n->groups) + c;
    uint32_t b, p, q, i;
    int64_t sum = 0;

    for (b = 0; b < n->batch; b++) {
        at->plane_x = (b * n->c + channel) * n->h * n->w;
        at->plane_h = (b * n->k + k) * n->p * n->q;
        i = (b * n->k + k) * (n->p / at->rows) * (n->q / at->columns);
        for (p = 0; p + at->rows <= n->p; p += at->rows)
            for (q = 0; q + at->columns <= n->q; q += at->columns, i++) {
                const int32_t error = insitu_get(d, i);

                if (error != 0)
                    sum += (int64_t)error * open_sum(h, x, n, at, p, q);
            }
    }
    return sum;
}

/* The errors of one channel: each for all of its window where the gate is open. */
static void channel_of_errors(const insitu_array *d, const insitu_array *h, const insitu_conv *n, uint32_t rows,
                                     uint32_t columns, uint32_t row, uint8_t *plane)
{
    const uint32_t down = n->p / rows, across = n->q / columns;
    const uint8_t *gate = h->data + row * n->p * n->q, *error = d->data + row * down * across;
    const uint8_t h_signed = h->form == INSITU_SIGNED;
    uint32_t p, q, i = 0;

    for (p = 0; p < n->p; p++) {
        for (q = 0; q < n->q; q++, i++) {
            const uint32_t open = p / rows < down && q / columns < across && insitu_byte(gate, i, h_signed) > 0;

            plane[i] = open ? error[p / rows * across + q / columns] : 0u;
        }
    }
}

/* Where all are bytes and there is room for a channel of errors, it is made, and the products are those of any convolution. */
static int by_channels(insitu_mover *m, const insitu_array *d, const insitu_array *h, const insitu_array *x,
                       const insitu_conv *n, uint32_t rows, uint32_t columns, uint8_t *plane)
{
    const uint32_t size = n->p * n->q, inputs = n->c / n->groups, kernel = n->r * n->s, weights = inputs * kernel;
    const insitu_array errors = {plane, size, 8u, d->form};
    insitu_array part = *x;
    insitu_conv one = *n;
    uint32_t start, count, row, j;

    if (plane == NULL || n->batch != 1u || !insitu_bytes(d) || !insitu_bytes(h) || !insitu_bytes(x))
        return 0;
    one.k = one.groups = 1u;
    one.c = inputs;
    for (start = 0; start < weights; start += count) {
        count = insitu_move_count(m, INSITU_BLOCK, weights - start);
        insitu_move_columns(m, start, count);
        for (row = m->first; row < m->stop; row++) {
            channel_of_errors(d, h, n, rows, columns, row, plane);
            part.data = x->data + row / (n->k / n->groups) * inputs * n->h * n->w;
            insitu_move_row(m, row);
            for (j = 0; j < count; j++) {
                const uint32_t in = (start + j) % kernel;

                insitu_move_weight(m, row, j,
                                   insitu_conv_gradient(&errors, &part, &one, 0, (start + j) / kernel, in / n->s, in % n->s));
            }
        }
    }
    return 1;
}

void insitu_gated_conv2d_dw_update(const insitu_array *d, const insitu_array *h, const insitu_array *x,
                                   const insitu_array *e, const insitu_array *w, const insitu_array *state,
                                   const insitu_conv *n, uint32_t rows, uint32_t columns, const insitu_move *move,
                                   const insitu_clock *clock, uint8_t *plane)
{
    const uint32_t kernel = n->r * n->s, weights = n->c / n->groups * kernel;
    insitu_window at = {rows, columns, 0, 0, 0, 0};
    insitu_mover m;
    uint32_t start, count, row, j;

    if (insitu_still(d, move))
        return;
#if defined(INSITU_HOST)
    if (insitu_host_gated_conv2d_dw_update(d, h, x, e, w, state, n, rows, columns, move, clock))
        return;
#endif
    insitu_move_begin(&m, w, e, state, n->k, weights, 0, move, clock);
    if (by_channels(&m, d, h, x, n, rows, columns, plane)) {
        insitu_move_end(&m);
        return;
    }
    for (start = 0; start < weights; start += count) {
        count = insitu_move_count(&m, INSITU_BLOCK, weights - start);
        insitu_move_columns(&m, start, count);
        for (row = m.first; row < m.stop; row++) {
            insitu_move_row(&m, row);
            for (j = 0; j < count; j++) {
                const uint32_t in = (start + j) % kernel;

                at.y = in / n->s * n->dilation[0] - n->padding[0];
                at.x = in % n->s * n->dilation[1] - n->padding[1];
                insitu_move_weight(&m, row, j, gradient(d, h, x, n, &at, row, (start + j) / kernel));
            }
        }
    }
    insitu_move_end(&m);
}
