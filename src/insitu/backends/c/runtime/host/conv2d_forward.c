/* SPDX-License-Identifier: Apache-2.0 */
/* The forward pass of a convolution on a host. */
#include "conv.h"

#if defined(INSITU_HOST)

#include <string.h>

#include "matrix.h"

/* One group of one sample. */
typedef struct {
    const insitu_array *w, *bias, *z;
    const insitu_conv *n;
    const insitu_read *read, *read_bias;
    const insitu_fit *end;
    const insitu_clock *clock;
    insitu_room *room;
    uint32_t first, outputs, size, groups, sample;
    int8_t bias_shift;
    int how; /* the windows are packed */
} insitu_forward;

/* Windows of the outputs of rows `first` to `stop`. */
static void pack_windows(const insitu_forward *f, const insitu_planes *x, uint32_t first, uint32_t stop)
{
    const uint32_t count = (stop - first) * f->n->q;
    uint8_t *rows = f->room->rows;
    uint32_t g, i, row;

    for (g = 0; g < f->groups; g++) {
        for (i = 0; i < INSITU_GROUP; i++) {
            row = g * INSITU_GROUP + i; /* one too many meets weights of 0 */
            insitu_window_row(x, f->n, row < f->size ? row : 0u, first, stop, rows + i * INSITU_LONG);
        }
        insitu_pack_group(rows, count, INSITU_GROUP, f->how, f->room->panels + g * INSITU_WIDTH, (size_t)f->groups * INSITU_WIDTH);
    }
}

/* Weights of `count` output channels from `k` on, and rows of 0 up to a whole block. */
static void pack_weights(const insitu_forward *f, uint32_t k, uint32_t count)
{
    const uint32_t rows = (count + INSITU_ROWS - 1u) / INSITU_ROWS * INSITU_ROWS;
    uint32_t i;

    for (i = 0; i < count; i++) {
        insitu_host_row(f->w, (f->first + k + i) * f->size, f->size, f->read, f->room->rows);
        insitu_pack_row((int8_t *)f->room->rows, f->size, INSITU_GROUP, f->groups, f->room->left + i * f->groups);
    }
    memset(f->room->left + count * f->groups, 0, (rows - count) * f->groups * sizeof f->room->left[0]);
    insitu_starts(f->room->left, f->groups, 1, rows, INSITU_GROUP, f->groups, f->how, f->room->start);
}

/* Sums of a block of output channels become outputs. */
static void finish_block(const insitu_forward *f, uint32_t k, uint32_t at, uint32_t count)
{
    const uint32_t plane = f->n->p * f->n->q;
    uint32_t i;

    for (i = 0; i < INSITU_ROWS && k + i < f->outputs; i++) {
        const uint32_t channel = f->first + k + i;
        const int64_t more = insitu_bias(f->bias, channel, f->read_bias, f->bias_shift);

        insitu_finish_many(f->z, (f->sample * f->n->k + channel) * plane + at, f->room->sums + i * INSITU_LONG, count, more,
                           f->size <= INSITU_DOT / 4u && insitu_small(more), f->end, f->clock);
    }
}

static void one_group(const insitu_forward *f, const insitu_planes *x)
{
    const uint32_t block = block_of(f->groups);
    const uint32_t columns = INSITU_PANELS / f->groups / INSITU_WIDTH * INSITU_WIDTH;
    const uint32_t most = (columns < INSITU_LONG - 16u ? columns : INSITU_LONG - 16u) / f->n->q; /* rows of outputs */
    const insitu_shape shape = {f->groups, 1, INSITU_GROUP, f->groups};
    uint32_t p, stop, k, i, count;

    for (p = 0; p < f->n->p; p = stop) {
        stop = f->n->p - p < most ? f->n->p : p + most;
        count = (stop - p) * f->n->q;
        pack_windows(f, x, p, stop);
        for (k = 0; k < f->outputs; k += block) {
            const uint32_t some = f->outputs - k < block ? f->outputs - k : block;

            if (p == 0u || some < f->outputs)
                pack_weights(f, k, some);
            for (i = 0; i < some; i += INSITU_ROWS) {
                insitu_product(f->room->left + i * f->groups, &shape, f->room->start + i, f->room->panels, tiles_of(count),
                               f->room->sums, INSITU_LONG);
                finish_block(f, k + i, p * f->n->q, count);
            }
        }
    }
}

/* A kernel of one element at stride 1 sees the plane as one row. */
static insitu_conv flattened(const insitu_conv *n)
{
    insitu_conv flat = *n;

    if (n->r * n->s == 1u && n->stride[0] == 1u && n->stride[1] == 1u && n->padding[0] == 0u && n->padding[1] == 0u &&
        n->h * n->w <= INSITU_LONG / 2u) {
        flat.w = flat.q = n->h * n->w;
        flat.h = flat.p = 1;
    }
    return flat;
}

int insitu_host_conv2d(const insitu_array *x, const insitu_array *w, const insitu_array *bias, const insitu_array *z,
                       const insitu_conv *n, const insitu_read *read, const insitu_read *read_bias, int8_t bias_shift,
                       const insitu_fit *end, const insitu_clock *clock)
{
    insitu_room *room = insitu_host_room();
    const insitu_conv flat = flattened(n);
    const uint32_t channels = n->c / n->groups, size = channels * n->r * n->s;
    insitu_forward f = {w, bias, z, &flat, read, read_bias, end, clock, room, 0, n->k / n->groups, size, groups_of(size, INSITU_GROUP), 0,
                        bias_shift, x->form != INSITU_UNSIGNED ? INSITU_RIGHT_SIGNED : INSITU_RIGHT_UNSIGNED};
    insitu_planes planes;
    const uint8_t *data;
    uint32_t g;

    if (!insitu_byte_like(x) || !(insitu_plain(w, read) || insitu_narrow(w, read)) || size > INSITU_LONG ||
        (uint64_t)f.groups * (flat.q + INSITU_WIDTH) > INSITU_PANELS || flat.q > INSITU_LONG / 2u)
        return 0;
    if ((uint64_t)channels * (n->h + 2u * n->padding[0]) * (n->w + 2u * n->padding[1]) > INSITU_PLANES)
        return 0;
    if (insitu_host_depthwise(x, w, bias, z, n, read, read_bias, bias_shift, end, clock))
        return 1;
    data = insitu_host_bytes(x, room);
    if (data == NULL)
        return 0;
    for (f.sample = 0; f.sample < n->batch; f.sample++)
        for (g = 0; g < n->groups; g++) {
            f.first = g * f.outputs;
            insitu_host_pad(data + (f.sample * n->c + g * channels) * n->h * n->w, &flat, channels, room, &planes);
            one_group(&f, &planes);
        }
    return 1;
}

#endif
