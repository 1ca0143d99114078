/* SPDX-License-Identifier: Apache-2.0 */
/* Errors of a pooled map on a host, where memory is of no account: the map is made, and the convolution's own form takes it. */
#include "conv.h"

#if defined(INSITU_HOST)

#define ROOM (1u << 18)
static __thread uint8_t room[ROOM];

int insitu_host_gated_conv2d_dw_update(const insitu_array *d, const insitu_array *h, const insitu_array *x,
                                       const insitu_array *e, const insitu_array *w, const insitu_array *state,
                                       const insitu_conv *n, uint32_t rows, uint32_t columns, const insitu_move *move,
                                       const insitu_clock *clock)
{
    const insitu_array map = {room, h->size, d->bits, d->form};
    insitu_conv spread = *n;

    if (!insitu_bytes(d) || h->size > ROOM)
        return 0;
    spread.c = n->k;
    spread.h = n->p;
    spread.w = n->q;
    spread.p = n->p / rows;
    spread.q = n->q / columns;
    spread.r = rows;
    spread.s = columns;
    insitu_unpool_gate(d, h, &map, &spread);
    insitu_conv2d_dw_update(&map, x, e, w, state, n, move, clock);
    return 1;
}

#endif
