/* SPDX-License-Identifier: Apache-2.0 */
/* Discrete state transitions: whole steps, and one more with the tabulated probability of the fraction. */
#include "internal.h"

int64_t insitu_dst_change(insitu_mover *m, uint32_t i, uint32_t j, int32_t g, uint32_t word)
{
    int64_t size = g < 0 ? -(int64_t)g : g, whole = insitu_shift(size, m->k, INSITU_FLOOR, 0);
    int64_t part = insitu_shift(size, m->k - 6, INSITU_FLOOR, 0) - 64 * whole;

    (void)i;
    (void)j;
    if (g == 0)
        return 0;
    whole += word >> 16 < m->move->of.dst.probabilities[part];
    return g < 0 ? -whole : whole;
}
