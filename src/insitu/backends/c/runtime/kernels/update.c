/* SPDX-License-Identifier: Apache-2.0 */
/* Weights move by a stored gradient. */
#include "internal.h"

void insitu_update(const insitu_array *w, const insitu_array *g, const insitu_array *e, const insitu_array *state,
                   uint32_t rows, uint32_t columns, const insitu_move *move, const insitu_clock *clock)
{
    insitu_mover m;
    uint32_t start, count, row, j;
    uint8_t vector = columns == 0u; /* no random words of columns */

    columns = vector ? 1u : columns;
    insitu_move_begin(&m, w, e, state, rows, columns, vector, move, clock);
    switch (move->how) {
#define CASE(NAME, look) \
    case INSITU_UPDATE_##NAME: look(&m, g); break;
        INSITU_UPDATE_TENSOR(CASE)
#undef CASE
    default: break;
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
