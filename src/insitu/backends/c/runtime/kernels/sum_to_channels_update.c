/* SPDX-License-Identifier: Apache-2.0 */
/* A bias moves by a gradient that is never stored. */
#include "internal.h"

#if defined(INSITU_AVX2)

/* One error a word, where 32 bits hold every sum. */
static int by_errors(const insitu_mover *m, const insitu_array *d)
{
    const insitu_move *move = m->move;
    const uint32_t k = (uint32_t)m->base, rows = m->rows, key = m->random ? m->key : 0u, salt = m->random ? m->salt : 0u;
    const int32_t low = move->low, high = move->high;
    uint32_t words[INSITU_BLOCK];
    int32_t w[INSITU_BLOCK], error[INSITU_BLOCK];

    if (d->bits > 16u || d->form == INSITU_REAL || m->w->bits > 16u || m->w->form == INSITU_REAL || m->base < 1 || m->base > 30 ||
        move->rounding == INSITU_EXACT || move->stride != 1u ||
        move->lfsr || move->channels != NULL || move->least > -65536 || move->most < 65535)
        return 0;
    for (uint32_t row = 0; row < rows; row += INSITU_BLOCK) {
        const uint32_t count = rows - row < INSITU_BLOCK ? rows - row : INSITU_BLOCK;
        insitu_get_many(d, row, count, error);
        insitu_get_many(m->w, row, count, w);
        for (uint32_t i = 0; i < count; i++) {
            words[i] = m->random ? insitu_mixed(insitu_mixed(row + i + key) ^ salt) : 0x80000000u;
        }
        for (uint32_t i = 0; i < count; i++) {
            w[i] = insitu_clip(w[i] - insitu_asr(error[i] + (int32_t)(words[i] >> (32u - k)), k), low, high);
        }
        insitu_set_many(m->w, row, count, w);
    }
    return 1;
}

#endif

void insitu_sum_to_channels_update(const insitu_array *d, const insitu_array *e, const insitu_array *w,
                                   const insitu_array *state, uint32_t batch, uint32_t channels, uint32_t inner,
                                   const insitu_move *move, const insitu_clock *clock)
{
    insitu_mover m;
    uint32_t row;

    insitu_move_begin(&m, w, e, state, channels, 1, 1, move, clock);
#if defined(INSITU_AVX2)
    if (batch * inner == 1u && by_errors(&m, d))
        return;
#endif
    insitu_move_columns(&m, 0, 1);
    for (row = m.first; row < m.stop; row++) {
        insitu_move_row(&m, row);
        insitu_move_weight(&m, row, 0, insitu_channel_sum(d, batch, channels, inner, row));
    }
    insitu_move_end(&m);
}
