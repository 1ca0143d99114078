/* SPDX-License-Identifier: Apache-2.0 */
/* The sum of each window; outside of the plane are zeros. */
#include "internal.h"

#if defined(INSITU_HOST)
#include "pools.h"
#endif

void insitu_sum_pool(const insitu_array *x, const insitu_array *y, const insitu_conv *n, const insitu_fit *end,
                     const insitu_clock *clock)
{
    const int bytes = insitu_bytes(x);
    const uint8_t is_signed = x->form == INSITU_SIGNED;
    uint32_t at = 0;
#if defined(INSITU_HOST)
    if (insitu_host_sum_pool(x, y, n, end, clock))
        return;
#endif
    for (uint32_t plane = 0; plane < n->batch * n->c; plane++) {
        for (uint32_t p = 0; p < n->p; p++) {
            for (uint32_t q = 0; q < n->q; q++, at++) {
                const uint32_t top = p * n->stride[0] - n->padding[0], left = q * n->stride[1] - n->padding[1];
                int64_t total = 0;
                for (uint32_t row = top; row != top + n->r; row++) {
                    for (uint32_t column = left; column != left + n->s; column++) {
                        if (row < n->h && column < n->w) { /* what is outside wrapped around to a large number */
                            const uint32_t i = (plane * n->h + row) * n->w + column;
                            total += bytes ? insitu_byte(x->data, i, is_signed) : insitu_get(x, i);
                        }
                    }
                }
                insitu_set(y, at, insitu_fitted(total, end, clock, at));
            }
        }
    }
}
