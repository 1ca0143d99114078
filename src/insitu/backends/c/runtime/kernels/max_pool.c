/* SPDX-License-Identifier: Apache-2.0 */
/* The largest of each window and its position in the plane: of equal ones the first, row by row. */
#include "internal.h"

#if defined(INSITU_HOST)
#include "pools.h"
#endif

void insitu_max_pool(const insitu_array *x, const insitu_array *y, const insitu_array *position, const insitu_conv *n)
{
    const int bytes = insitu_bytes(x);
    const uint8_t is_signed = x->form == INSITU_SIGNED;
    uint32_t at = 0;
#if defined(INSITU_HOST)
    if (insitu_host_max_pool(x, y, position, n))
        return;
#endif
    for (uint32_t plane = 0; plane < n->batch * n->c; plane++) {
        for (uint32_t p = 0; p < n->p; p++) {
            for (uint32_t q = 0; q < n->q; q++, at++) {
                const uint32_t top = p * n->stride[0] - n->padding[0], left = q * n->stride[1] - n->padding[1];
                int32_t best = INT32_MIN;
                uint32_t where = UINT32_MAX;
                for (uint32_t row = top; row != top + n->r; row++) {
                    for (uint32_t column = left; column != left + n->s; column++) {
                        if (row < n->h && column < n->w) { /* what is outside wrapped around to a large number */
                            const uint32_t i = (plane * n->h + row) * n->w + column;
                            const int32_t v = bytes ? insitu_byte(x->data, i, is_signed) : insitu_get(x, i);
                            if (v > best || where == UINT32_MAX) {
                                best = v;
                                where = row * n->w + column;
                            }
                        }
                    }
                }
                insitu_set(y, at, best);
                if (position != NULL)
                    insitu_set(position, at, (int32_t)where);
            }
        }
    }
}
