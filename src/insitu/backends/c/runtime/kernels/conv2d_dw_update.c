/* SPDX-License-Identifier: Apache-2.0 */
/* Weights of a convolution move by a gradient that is never stored. */
#include "internal.h"

#if defined(INSITU_HOST)
#include "conv.h"
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
#if defined(INSITU_HOST)
    if (insitu_host_conv2d_dw(d, x, NULL, &m, n, NULL, clock)) {
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
