/* SPDX-License-Identifier: Apache-2.0 */
/* Weights move by a stored gradient. */
#include "internal.h"

void insitu_update(const insitu_array *w, const insitu_array *g, const insitu_array *e, const insitu_array *state,
                   uint32_t rows, uint32_t columns, const insitu_move *move, const insitu_clock *clock)
{
    insitu_mover m;
    uint32_t start, count, row, j, i, largest = 0;
    uint8_t vector = columns == 0u; /* no random words of columns */

    columns = vector ? 1u : columns;
    insitu_move_begin(&m, w, e, state, rows, columns, vector, move, clock);
    if (move->how == INSITU_MOVE_NITI) {
        for (i = 0; i < g->size; i++) {
            int32_t n = insitu_get(g, i);
            uint32_t size = n < 0 ? 0u - (uint32_t)n : (uint32_t)n;

            largest = size > largest ? size : largest;
        }
        m.base = (int32_t)insitu_bit_length(largest) - move->step_bits + (move->stride - 1);
    }
    for (start = 0; start < columns; start += count) {
        count = insitu_move_count(&m, INSITU_BLOCK, columns - start);
        insitu_move_columns(&m, start, count);
        for (row = m.first; row < m.stop; row++) {
            insitu_move_row(&m, row);
            for (j = 0; j < count; j++)
                insitu_move_weight(&m, row, j, insitu_get(g, row * columns + start + j));
        }
    }
    insitu_move_end(&m);
}
