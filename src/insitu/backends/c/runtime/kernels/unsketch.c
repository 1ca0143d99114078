/* SPDX-License-Identifier: Apache-2.0 */
/* The errors of a sketch sent back to its features. */
#include "internal.h"

void insitu_unsketch(const insitu_array *d, const insitu_array *e, const insitu_dense *n, uint32_t stream,
                     const insitu_clock *clock)
{
    const uint32_t key = insitu_key(clock->seed, stream, 0), salt = insitu_salt(key);
    const int32_t most = (int32_t)((1u << (e->bits - 1u)) - 1u);
    uint32_t b, i;

    for (b = 0; b < n->batch; b++) {
        for (i = 0; i < n->outputs; i++) {
            const uint32_t word = insitu_mixed(insitu_mixed(i + key) ^ salt);
            const int32_t v = insitu_get(d, b * n->inputs + ((word & 0xFFFFu) * n->inputs >> 16));
            const int32_t signed_v = word >> 31 ? -v : v;

            insitu_set(e, b * n->outputs + i, signed_v > most ? most : signed_v);
        }
    }
}
