/* SPDX-License-Identifier: Apache-2.0 */
/* Every error to all of its window. */
#include "insitu_kernels.h"

void insitu_sum_unpool(const insitu_array *d, const insitu_array *e, const insitu_conv *n)
{
    for (uint32_t i = 0; i < e->size; i++) {
        insitu_set(e, i, 0);
    }
    for (uint32_t plane = 0; plane < n->batch * n->c; plane++) {
        for (uint32_t p = 0; p < n->p; p++) {
            for (uint32_t q = 0; q < n->q; q++) {
                const uint32_t at = (plane * n->p + p) * n->q + q;
                const int32_t v = insitu_get(d, at);
                for (uint32_t i = 0; i < n->r * n->s; i++) {
                    const uint32_t row = p * n->stride[0] + i / n->s - n->padding[0];
                    const uint32_t column = q * n->stride[1] + i % n->s - n->padding[1];
                    if (row < n->h && column < n->w) {
                        const uint32_t to = (plane * n->h + row) * n->w + column;
                        insitu_set(e, to, insitu_get(e, to) + v);
                    }
                }
            }
        }
    }
}
