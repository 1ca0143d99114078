/* SPDX-License-Identifier: Apache-2.0 */
/* A bias moves by the errors of a pooled map: each times the open elements of its window. */
#include "internal.h"

static int32_t open_elements(const insitu_array *h, uint32_t first, uint32_t width, uint32_t rows, uint32_t columns)
{
    uint32_t i, j;
    int32_t count = 0;

    for (i = 0; i < rows; i++, first += width)
        for (j = 0; j < columns; j++)
            count += insitu_get(h, first + j) > 0;
    return count;
}

void insitu_gated_sum_to_channels_update(const insitu_array *d, const insitu_array *h, const insitu_array *e,
                                         const insitu_array *w, const insitu_array *state, const insitu_conv *n,
                                         uint32_t rows, uint32_t columns, const insitu_move *move,
                                         const insitu_clock *clock)
{
    insitu_mover m;
    uint32_t row, b, p, q, i;

    if (insitu_still(d, move))
        return;
    insitu_move_begin(&m, w, e, state, n->k, 1, 1, move, clock);
    insitu_move_columns(&m, 0, 1);
    for (row = m.first; row < m.stop; row++) {
        int64_t sum = 0;

        for (b = 0; b < n->batch; b++) {
            i = (b * n->k + row) * (n->p / rows) * (n->q / columns);
            for (p = 0; p + rows <= n->p; p += rows)
                for (q = 0; q + columns <= n->q; q += columns, i++)
                    sum += (int64_t)insitu_get(d, i) *
                           open_elements(h, ((b * n->k + row) * n->p + p) * n->q + q, n->q, rows, columns);
        }
        insitu_move_row(&m, row);
        insitu_move_weight(&m, row, 0, sum);
    }
    insitu_move_end(&m);
}
