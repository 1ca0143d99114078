/* SPDX-License-Identifier: Apache-2.0 */
/* Every error to all of its window. */
#include "internal.h"

void insitu_sum_unpool(const insitu_array *d, const insitu_array *e, const insitu_conv *n)
{
    uint32_t at = 0;
    if (insitu_bytes(d) && insitu_bytes(e) && n->stride[0] == n->r && n->stride[1] == n->s && n->padding[0] + n->padding[1] == 0u &&
        n->p * n->r == n->h && n->q * n->s == n->w) { /* windows side by side */
        uint8_t *to = e->data;
        for (uint32_t p = 0; p < n->batch * n->c * n->p; p++)
            for (uint32_t r = 0; r < n->r; r++)
                for (uint32_t q = 0; q < n->q; q++)
                    for (uint32_t s = 0; s < n->s; s++)
                        *to++ = d->data[p * n->q + q];
        return;
    }
    for (uint32_t i = 0; i < e->size; i++) {
        insitu_set(e, i, 0);
    }
    for (uint32_t plane = 0; plane < n->batch * n->c; plane++) {
        for (uint32_t p = 0; p < n->p; p++) {
            for (uint32_t q = 0; q < n->q; q++, at++) {
                const uint32_t top = p * n->stride[0] - n->padding[0], left = q * n->stride[1] - n->padding[1];
                const int32_t v = insitu_get(d, at);
                for (uint32_t row = top; row != top + n->r; row++) {
                    for (uint32_t column = left; column != left + n->s; column++) {
                        if (row < n->h && column < n->w) { /* what is outside wrapped around to a large number */
                            const uint32_t to = (plane * n->h + row) * n->w + column;
                            insitu_set(e, to, insitu_get(e, to) + v);
                        }
                    }
                }
            }
        }
    }
}
