/* SPDX-License-Identifier: Apache-2.0 */
/* Accumulators that serve the slices of a matrix's rows in turn, a window of training steps each. */
#include "internal.h"

void insitu_round_robin_begin(insitu_mover *m)
{
    uint32_t window = m->move->of.round_robin.window, slices = m->move->of.round_robin.slices;
    uint32_t slice = (m->rows + slices - 1u) / slices;

    m->first = m->clock->t / window % ((m->rows + slice - 1u) / slice) * slice;
    m->stop = m->first + slice < m->rows ? m->first + slice : m->rows;
    m->last = m->clock->t % window == window - 1u;
}

int64_t insitu_round_robin_change(insitu_mover *m, uint32_t i, uint32_t j, int32_t g, uint32_t word)
{
    uint32_t at = i - m->first * m->columns;
    int32_t sum = insitu_saturate(insitu_get(m->state, at) + insitu_shift(g, m->k, INSITU_STOCHASTIC, word), -128, 127);
    int32_t size = sum < 0 ? -sum : sum, step;

    (void)j;
    insitu_set(m->state, at, sum);
    if (m->last && size >= m->move->of.round_robin.evidence && sum != 0) {
        step = sum < 0 ? -(int32_t)m->move->stride : (int32_t)m->move->stride;
        insitu_set(m->w, i, insitu_saturate((int64_t)insitu_get(m->w, i) - step, m->move->low, m->move->high));
    }
    return 0;
}
