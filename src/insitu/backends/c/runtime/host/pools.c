/* SPDX-License-Identifier: Apache-2.0 */
/* Pools of two by two on a host, of bytes, windows side by side. */
#include "pools.h"

#if defined(INSITU_HOST)

#include <string.h>

#define MOST 256u /* outputs of a row */

/* One row of outputs: the largest of each window, and its place, of equal ones the first. */
static void largest(const uint8_t *above, const uint8_t *below, uint32_t count, uint8_t flip, uint32_t width, uint8_t *best,
                    int32_t *place)
{
    uint32_t q;

    for (q = 0; q < count; q++) { /* flipped, signed bytes are in the order of unsigned ones */
        const uint8_t a = above[2u * q] ^ flip, b = above[2u * q + 1u] ^ flip;
        const uint8_t c = below[2u * q] ^ flip, d = below[2u * q + 1u] ^ flip;
        const uint8_t high = b > a ? b : a, low = d > c ? d : c;
        const int32_t of_high = b > a, of_low = (d > c) + (int32_t)width;

        best[q] = (uint8_t)((low > high ? low : high) ^ flip);
        place[q] = (low > high ? of_low : of_high) + 2 * (int32_t)q;
    }
}

int insitu_host_max_pool(const insitu_array *x, const insitu_array *y, const insitu_array *position, const insitu_conv *n)
{
    int32_t place[MOST];
    uint32_t plane, p, q;

    if (!insitu_bytes(x) || y->bits != 8u || n->r != 2u || n->s != 2u || n->stride[0] != 2u || n->stride[1] != 2u ||
        n->padding[0] + n->padding[1] != 0u || n->q > MOST || 2u * n->p > n->h || 2u * n->q > n->w)
        return 0;
    for (plane = 0; plane < n->batch * n->c; plane++)
        for (p = 0; p < n->p; p++) {
            const uint8_t *from = x->data + (plane * n->h + 2u * p) * n->w;
            const uint32_t at = (plane * n->p + p) * n->q;

            largest(from, from + n->w, n->q, x->form == INSITU_SIGNED ? 0x80u : 0u, n->w, y->data + at, place);
            for (q = 0; q < n->q; q++)
                place[q] += (int32_t)(2u * p * n->w);
            if (position != NULL)
                insitu_set_many(position, at, n->q, place);
        }
    return 1;
}

int insitu_host_max_unpool(const insitu_array *d, const insitu_array *position, const insitu_array *e, uint32_t planes)
{
    const uint32_t inner = d->size / planes, size = e->size / planes;
    uint32_t i, j, count;
    int32_t place[INSITU_BLOCK];

    if (d->bits != 8u || e->bits != 8u)
        return 0;
    memset(e->data, 0, e->size);
    for (i = 0; i < d->size; i += count) {
        uint8_t *to = e->data + i / inner * size;

        count = inner - i % inner < INSITU_BLOCK ? inner - i % inner : INSITU_BLOCK; /* of one plane */
        insitu_get_many(position, i, count, place);
        for (j = 0; j < count; j++)
            to[place[j]] = (uint8_t)(to[place[j]] + d->data[i + j]);
    }
    return 1;
}

#endif
