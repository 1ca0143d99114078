/* SPDX-License-Identifier: Apache-2.0 */
/* Steps and weight decay, both truncated towards zero. */
#include "internal.h"

static int64_t towards_zero(int64_t x, int32_t k)
{
    int64_t size = insitu_shift(x < 0 ? -x : x, k, INSITU_FLOOR, 0);

    return x < 0 ? -size : size;
}

int64_t insitu_integer_sgd_change(insitu_mover *m, uint32_t i, uint32_t j, int32_t g, uint32_t word)
{
    int64_t change = towards_zero(g, m->k);

    (void)j;
    (void)word;
    if (m->move->of.integer_sgd.decay >= 0)
        change += towards_zero(insitu_get(m->w, i), m->move->of.integer_sgd.decay);
    return change;
}
