/* SPDX-License-Identifier: Apache-2.0 */
/* The sum of each window; outside of the plane are zeros. */
#include "insitu_kernels.h"

void insitu_sum_pool(const insitu_array *x, const insitu_array *y, const insitu_conv *n, const insitu_fit *end,
                     const insitu_clock *clock)
{
    for (uint32_t plane = 0; plane < n->batch * n->c; plane++) {
        for (uint32_t p = 0; p < n->p; p++) {
            for (uint32_t q = 0; q < n->q; q++) {
                const uint32_t at = (plane * n->p + p) * n->q + q;
                int64_t total = 0;
                for (uint32_t i = 0; i < n->r * n->s; i++) {
                    const uint32_t row = p * n->stride[0] + i / n->s - n->padding[0];
                    const uint32_t column = q * n->stride[1] + i % n->s - n->padding[1];
                    if (row < n->h && column < n->w) {
                        total += insitu_get(x, (plane * n->h + row) * n->w + column);
                    }
                }
                insitu_set(y, at, insitu_fitted(total, end, clock, at));
            }
        }
    }
}
