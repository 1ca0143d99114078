/* SPDX-License-Identifier: Apache-2.0 */
/* Every error to all of its window where y > 0, else 0; windows lie side by side. e may lie where y does. */
#include "internal.h"

#if defined(INSITU_HOST)
#include "pools.h"
#endif

void insitu_unpool_gate(const insitu_array *d, const insitu_array *y, const insitu_array *e, const insitu_conv *n)
{
    const int bytes = insitu_bytes(d) && insitu_bytes(y) && insitu_bytes(e);
    const uint8_t y_signed = y->form == INSITU_SIGNED;
    uint32_t at = 0, plane, row, p, r, q, s;

#if defined(INSITU_HOST)
    if (insitu_host_unpool_gate(d, y, e, n))
        return;
#endif
    for (plane = 0; plane < n->batch * n->c; plane++) {
        for (p = row = 0; row < n->h; p++) {
            for (r = 0; r < n->r && row < n->h; r++, row++) {
                for (q = 0; q < n->q; q++) {
                    const uint32_t i = (plane * n->p + p) * n->q + q;
                    const int32_t v = p >= n->p ? 0 : insitu_get(d, i);

                    for (s = 0; s < n->s; s++, at++) {
                        if (bytes)
                            e->data[at] = insitu_byte(y->data, at, y_signed) > 0 ? (uint8_t)v : 0u;
                        else
                            insitu_set(e, at, insitu_get(y, at) > 0 ? v : 0);
                    }
                }
                for (s = n->q * n->s; s < n->w; s++, at++)
                    insitu_set(e, at, 0);
            }
        }
    }
}
