/* SPDX-License-Identifier: Apache-2.0 */
/* The gradient of a convolution's weights on a host, of one sample. */
#include "conv.h"

#if defined(INSITU_HOST)

#include <string.h>

#include "matrix.h"

typedef struct {
    const insitu_array *d, *g;
    insitu_mover *m;
    const insitu_conv *n;
    const insitu_fit *end;
    const insitu_clock *clock;
    insitu_room *room;
    uint32_t outputs, size, group, groups; /* of a group of channels; groups of positions */
    int how;                               /* the windows are packed */
} insitu_gradient;

/* Columns `start` to start + count: windows, turned. */
static void pack_windows(const insitu_gradient *f, const insitu_planes *x, uint32_t start, uint32_t count)
{
    uint32_t j, i;

    for (j = 0; j < count; j += 8u) {
        for (i = 0; i < 8u; i++)
            insitu_window_row(x, f->n, j + i < count ? start + j + i : start, 0, f->n->p, f->room->rows + i * INSITU_LONG);
        insitu_pack_columns(f->room->rows, f->groups, f->group, f->how,
                            f->room->panels + (size_t)(j / INSITU_WIDTH) * f->groups * INSITU_WIDTH + j % INSITU_WIDTH);
    }
}

/* Errors of up to INSITU_ROWS output channels from k on. */
static void pack_errors(const insitu_gradient *f, uint32_t k, uint32_t count)
{
    const uint32_t plane = f->n->p * f->n->q;
    uint32_t i;

    memset(f->room->left, 0, INSITU_ROWS * f->groups * sizeof f->room->left[0]);
    for (i = 0; i < count; i++) {
        uint32_t *to = f->room->left + i * f->groups;

        if (f->d->bits > 8u) {
            insitu_host_words(f->d, (k + i) * plane, plane, (int16_t *)(void *)to);
            continue;
        }
        insitu_host_row(f->d, (k + i) * plane, plane, NULL, f->room->rows);
        insitu_pack_row((int8_t *)f->room->rows, plane, f->group, f->groups, to);
    }
    insitu_starts(f->room->left, f->groups, 1, INSITU_ROWS, f->group, f->groups, f->how, f->room->start);
}

/* The gradient of a part of row k. */
static void finish_row(const insitu_gradient *f, uint32_t k, uint32_t start, uint32_t count, const int32_t *sums)
{
    if (f->m != NULL) {
        insitu_move_row(f->m, k);
        insitu_move_sums(f->m, k, sums, count);
    } else
        insitu_finish_many(f->g, k * f->size + start, sums, count, 0, insitu_fits(f->d, f->n->p * f->n->q, 29), f->end, f->clock);
}

/* Columns of the output channels of one group. */
static void one_group(const insitu_gradient *f, const insitu_planes *x, uint32_t first, uint32_t stop, uint32_t start, uint32_t count)
{
    const insitu_shape shape = {f->groups, 1, f->group, f->groups};
    uint32_t k, i, rows;

    pack_windows(f, x, start, count);
    for (k = first; k < stop; k += rows) {
        rows = stop - k < INSITU_ROWS ? stop - k : INSITU_ROWS;
        pack_errors(f, k, rows);
        insitu_product(f->room->left, &shape, f->room->start, f->room->panels, tiles_of(count), f->room->sums, INSITU_LONG);
        for (i = 0; i < rows; i++)
            finish_row(f, k + i, start, count, f->room->sums + i * INSITU_LONG);
    }
}

int insitu_host_conv2d_dw(const insitu_array *d, const insitu_array *x, const insitu_array *g, insitu_mover *m,
                          const insitu_conv *n, const insitu_fit *end, const insitu_clock *clock)
{
    insitu_room *room = insitu_host_room();
    const uint32_t channels = n->c / n->groups, outputs = n->k / n->groups, plane = n->p * n->q;
    const uint32_t group = d->bits > 8u ? 2u : INSITU_GROUP, groups = groups_of(plane, group);
    const insitu_gradient f = {d, g, m, n, end, clock, room, outputs, channels * n->r * n->s, group, groups,
                               x->form != INSITU_UNSIGNED ? INSITU_RIGHT_SIGNED : INSITU_RIGHT_UNSIGNED};
    const uint32_t room_for = INSITU_PANELS / groups / INSITU_WIDTH * INSITU_WIDTH;
    const uint32_t most = room_for < INSITU_BLOCK ? room_for : INSITU_BLOCK;
    insitu_planes planes;
    const uint8_t *data;
    const uint32_t first = m == NULL ? 0u : m->first, stop = m == NULL ? n->k : m->stop;
    uint32_t start, count, k, next;

    if (n->batch != 1u || !insitu_fits(d, plane, 30) || !insitu_byte_like(x) || plane > INSITU_LONG / 2u || (m != NULL && most < m->move->group))
        return 0;
    if (insitu_host_depthwise_dw(d, x, g, m, n, end, clock))
        return 1;
    data = insitu_host_bytes(x, room);
    if (data == NULL || !insitu_host_pad(data, n, channels, room, &planes))
        return 0;
    for (start = 0; start < f.size; start += count) {
        count = m == NULL ? (f.size - start < most ? f.size - start : most) : insitu_move_count(m, most, f.size - start);
        if (m != NULL)
            insitu_move_columns(m, start, count);
        for (k = first; k < stop; k = next) {
            next = (k / outputs + 1u) * outputs < stop ? (k / outputs + 1u) * outputs : stop;
            if (n->groups > 1u)
                insitu_host_pad(data + k / outputs * channels * n->h * n->w, n, channels, room, &planes);
            one_group(&f, &planes, k, next, start, count);
        }
    }
    return 1;
}

#endif
