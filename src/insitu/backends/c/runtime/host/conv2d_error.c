/* SPDX-License-Identifier: Apache-2.0 */
/* The error of a convolution's input on a host. */
#include "conv.h"

#if defined(INSITU_HOST)

#include <string.h>

#include "matrix.h"

/* One group of one sample. Sums are made in a plane that the windows do not leave: element (y, x) of the channel is at
   (y + padding, x + padding). */
typedef struct {
    const insitu_array *d, *w, *e;
    const insitu_conv *n;
    const insitu_read *read;
    const insitu_fit *end;
    const insitu_clock *clock;
    insitu_room *room;
    uint32_t first, outputs, size, group, groups, sample;
    uint32_t height, width; /* of that plane */
    uint32_t held;          /* sums that wait in room->packed */
} insitu_error;

/* Rows of errors, an output channel each. */
static void pack_errors(const insitu_error *f)
{
    const uint32_t plane = f->n->p * f->n->q, tile = f->groups * INSITU_WIDTH;
    uint8_t *rows = f->room->rows;
    uint32_t g, i, k;

    for (g = 0; g < f->groups; g++) {
        for (i = 0; i < f->group; i++) {
            k = f->sample * f->n->k + f->first + g * f->group + i;
            if (g * f->group + i >= f->outputs) /* one too many meets weights of 0 */
                continue;
            if (f->d->bits > 8u)
                insitu_host_words(f->d, k * plane, plane, f->room->words + i * INSITU_LONG);
            else
                insitu_host_row(f->d, k * plane, plane, NULL, rows + i * INSITU_LONG);
        }
        if (f->d->bits > 8u)
            insitu_pack_words(f->room->words, plane, f->room->panels + g * INSITU_WIDTH, tile);
        else
            insitu_pack_group(rows, plane, f->group, INSITU_RIGHT_SIGNED, f->room->panels + g * INSITU_WIDTH, tile);
    }
}

/* Weights m to m + count of every output channel: the transposed left matrix. */
static void pack_weights(const insitu_error *f, uint32_t m, uint32_t count, uint32_t pitch)
{
    uint8_t *rows = f->room->rows;
    uint32_t g, i, k;

    for (g = 0; g < f->groups; g++) {
        for (i = 0; i < f->group; i++) {
            k = g * f->group + i;
            if (k < f->outputs)
                insitu_host_row(f->w, (f->first + k) * f->size + m, count, f->read, rows + i * INSITU_LONG);
            else
                memset(rows + i * INSITU_LONG, 0, count);
        }
        insitu_pack_group(rows, count, f->group, INSITU_LEFT_SIGNED, f->room->left + g * pitch, INSITU_WIDTH);
    }
    insitu_starts(f->room->left, 1, pitch, count, f->group, f->groups, INSITU_RIGHT_SIGNED, f->room->start);
}

/* Rows of a plane += rows of `width` sums; what is added beyond is 0. */
INSITU_INLINE void add_rows(int32_t *to, uint32_t pitch, const int32_t *from, uint32_t count, uint32_t width)
{
    const uint32_t whole = width / INSITU_LANES * INSITU_LANES, rest = width - whole;
    uint32_t p, q;

    for (p = 0; p < count; p++, to += pitch, from += width) {
        for (q = 0; q < whole; q += INSITU_LANES)
            store_lanes(to + q, add_lanes(load_lanes(to + q), load_lanes(from + q)));
        if (rest > 0u)
            store_lanes(to + whole, add_lanes(load_lanes(to + whole), load_some_lanes(from + whole, rest)));
    }
}

/* The sums of one element of the kernel go to where its windows see the plane. */
static void scatter(const insitu_error *f, uint32_t at, const int32_t *sums)
{
    const insitu_conv *n = f->n;
    const uint32_t pitch = n->stride[0] * f->width, step = n->stride[1];
    int32_t *to = f->room->plane + at / n->s * n->dilation[0] * f->width + at % n->s * n->dilation[1];
    uint32_t p, q;

    if (step == 1u && n->q == INSITU_LANES)
        add_rows(to, pitch, sums, n->p, INSITU_LANES);
    else if (step == 1u)
        add_rows(to, pitch, sums, n->p, n->q);
    else
        for (p = 0; p < n->p; p++, to += pitch, sums += n->q)
            for (q = 0; q < n->q; q++)
                to[q * step] += sums[q];
}

/* The sums of a channel become its errors. */
static void finish_channel(insitu_error *f, uint32_t channel)
{
    const insitu_conv *n = f->n;
    const int32_t *from = f->room->plane + n->padding[0] * f->width + n->padding[1];
    int32_t *to = f->room->packed + f->held;
    uint32_t y, x;

    for (y = 0; y < n->h; y++, from += f->width, to += n->w) /* the next row covers what is too much */
        for (x = 0; x < n->w; x += INSITU_LANES)
            store_lanes(to + x, load_lanes(from + x));
    memset(f->room->plane, 0, f->height * f->width * sizeof *to);
    f->held += n->h * n->w;
    if (channel + 1u < n->c && insitu_held(f->held, n->h * n->w))
        return;
    insitu_finish_many(f->e, (f->sample * n->c + channel + 1u) * n->h * n->w - f->held, f->room->packed, f->held, 0,
                       insitu_fits(f->d, f->outputs * n->r * n->s, 30), f->end, f->clock);
    f->held = 0;
}

static void one_group(insitu_error *f, uint32_t channel)
{
    const uint32_t kernel = f->n->r * f->n->s, plane = f->n->p * f->n->q, pitch = block_of(f->groups);
    const insitu_shape shape = {1, pitch, f->group, f->groups};
    uint32_t m, count, i, j;

    pack_errors(f);
    for (m = 0; m < f->size; m += count) {
        count = f->size - m < pitch - 16u ? f->size - m : pitch - 16u;
        pack_weights(f, m, count, pitch);
        for (i = 0; i < count; i += INSITU_ROWS) {
            insitu_product(f->room->left + i, &shape, f->room->start + i, f->room->panels, tiles_of(plane), f->room->sums,
                           INSITU_LONG);
            for (j = i; j < count && j < i + INSITU_ROWS; j++) {
                scatter(f, (m + j) % kernel, f->room->sums + (j - i) * INSITU_LONG);
                if ((m + j + 1u) % kernel == 0u)
                    finish_channel(f, channel++);
            }
        }
    }
}

static uint32_t larger(uint32_t a, uint32_t b)
{
    return a > b ? a : b;
}

int insitu_host_conv2d_dx(const insitu_array *d, const insitu_array *w, const insitu_array *e, const insitu_conv *n,
                          const insitu_read *read, const insitu_fit *end, const insitu_clock *clock)
{
    insitu_room *room = insitu_host_room();
    const uint32_t outputs = n->k / n->groups, channels = n->c / n->groups;
    const uint32_t height = larger(n->h + n->padding[0], (n->p - 1u) * n->stride[0] + (n->r - 1u) * n->dilation[0] + 1u);
    const uint32_t width = larger(n->w + n->padding[1], (n->q - 1u) * n->stride[1] + (n->s - 1u) * n->dilation[1] + 1u);
    const uint32_t group = d->bits > 8u ? 2u : INSITU_GROUP;
    insitu_error f = {d, w, e, n, read, end, clock, room, 0, outputs, channels * n->r * n->s, group, groups_of(outputs, group), 0,
                      height, width, 0};
    uint32_t g;

    if (!insitu_fits(d, outputs * n->r * n->s, 31) || !(insitu_plain(w, read) || insitu_narrow(w, read)) ||
        f.groups > INSITU_LEFT / 64u)
        return 0;
    if ((uint64_t)tiles_of(n->p * n->q) * INSITU_WIDTH * f.groups > INSITU_PANELS ||
        (uint64_t)n->p * n->q > INSITU_LONG - INSITU_WIDTH || (uint64_t)height * width > INSITU_PLANE)
        return 0;
    if (insitu_host_depthwise_dx(d, w, e, n, read, end, clock))
        return 1;
    memset(room->plane, 0, height * width * sizeof room->plane[0]);
    for (f.sample = 0; f.sample < n->batch; f.sample++)
        for (g = 0; g < n->groups; g++) {
            f.first = g * outputs;
            one_group(&f, g * channels);
        }
    return 1;
}

#endif
