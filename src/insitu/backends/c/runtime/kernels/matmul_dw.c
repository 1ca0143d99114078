/* SPDX-License-Identifier: Apache-2.0 */
/* The gradient of a dense layer's weights. */
#include "internal.h"

void insitu_matmul_dw(const insitu_array *d, const insitu_array *x, const insitu_array *g, const insitu_dense *n,
                      const insitu_fit *end, const insitu_clock *clock)
{
    uint32_t b, o, i;

    for (o = 0; o < n->outputs; o++)
        for (i = 0; i < n->inputs; i++) {
            int64_t sum = 0;

            for (b = 0; b < n->batch; b++)
                sum += (int64_t)insitu_get(d, b * n->outputs + o) * insitu_get(x, b * n->inputs + i);
            insitu_set(g, o * n->inputs + i, insitu_fitted(sum, end, clock, o * n->inputs + i));
        }
}
