/* SPDX-License-Identifier: Apache-2.0 */
/* A bias moves by a gradient that is never stored. */
#include "internal.h"

void insitu_sum_to_channels_update(const insitu_array *d, const insitu_array *e, const insitu_array *w,
                                   const insitu_array *state, uint32_t batch, uint32_t channels, uint32_t inner,
                                   const insitu_move *move, const insitu_clock *clock)
{
    insitu_mover m;
    uint32_t row;

    insitu_move_begin(&m, w, e, state, channels, 1, 1, move, clock);
    insitu_move_columns(&m, 0, 1);
    for (row = m.first; row < m.stop; row++) {
        insitu_move_row(&m, row);
        insitu_move_weight(&m, row, 0, insitu_channel_sum(d, batch, channels, inner, row));
    }
    insitu_move_end(&m);
}
