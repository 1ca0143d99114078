/* SPDX-License-Identifier: Apache-2.0 */
/* Stochastic rounding whose steps are clipped. */
#include "internal.h"

int64_t insitu_clipped_change(insitu_mover *m, uint32_t i, uint32_t j, int32_t g, uint32_t word)
{
    int64_t most = m->move->of.clipped.most, change = insitu_shift(g, m->k, INSITU_STOCHASTIC, word);

    (void)i;
    (void)j;
    return change > most ? most : change < -most ? -most : change;
}
