/* SPDX-License-Identifier: Apache-2.0 */
/* The largest of each window and its position in the plane: of equal ones the first, row by row. */
#include "insitu_kernels.h"

void insitu_max_pool(const insitu_array *x, const insitu_array *y, const insitu_array *position, const insitu_conv *n)
{
    for (uint32_t plane = 0; plane < n->batch * n->c; plane++) {
        for (uint32_t p = 0; p < n->p; p++) {
            for (uint32_t q = 0; q < n->q; q++) {
                const uint32_t at = (plane * n->p + p) * n->q + q;
                int32_t best = INT32_MIN;
                uint32_t where = 0, seen = 0;
                for (uint32_t i = 0; i < n->r * n->s; i++) {
                    const uint32_t row = p * n->stride[0] + i / n->s - n->padding[0];
                    const uint32_t column = q * n->stride[1] + i % n->s - n->padding[1];
                    if (row < n->h && column < n->w) { /* outside wraps around to a large number */
                        const int32_t v = insitu_get(x, (plane * n->h + row) * n->w + column);
                        if (seen == 0u || v > best) {
                            best = v;
                            where = row * n->w + column;
                            seen = 1u;
                        }
                    }
                }
                insitu_set(y, at, best);
                insitu_set(position, at, (int32_t)where);
            }
        }
    }
}
