/* SPDX-License-Identifier: Apache-2.0 */
/* The step's width is fixed: the largest gradient of the tensor keeps `step_bits` bits. */
#include "internal.h"

void insitu_niti_tensor(insitu_mover *m, const insitu_array *g)
{
    uint32_t i, largest = 0;

    for (i = 0; i < g->size; i++) {
        int32_t n = insitu_get(g, i);
        uint32_t size = n < 0 ? 0u - (uint32_t)n : (uint32_t)n;

        largest = size > largest ? size : largest;
    }
    m->base = (int32_t)insitu_bit_length(largest) - m->move->of.niti.step_bits + (m->move->stride - 1);
}
