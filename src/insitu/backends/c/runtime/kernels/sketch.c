/* SPDX-License-Identifier: Apache-2.0 */
/* Features added up in a few numbers, with random signs. */
#include "internal.h"

void insitu_sketch(const insitu_array *x, const insitu_array *y, const insitu_dense *n, uint32_t stream,
                   const insitu_clock *clock)
{
    const uint32_t key = insitu_key(clock->seed, stream, 0), salt = insitu_salt(key);
    int32_t sums[INSITU_BLOCK];
    uint32_t b, i, start, count;

    for (b = 0; b < n->batch; b++) {
        for (start = 0; start < n->outputs; start += count) {
            count = n->outputs - start < INSITU_BLOCK ? n->outputs - start : INSITU_BLOCK;
            for (i = 0; i < count; i++)
                sums[i] = 0;
            for (i = 0; i < n->inputs; i++) {
                const uint32_t word = insitu_mixed(insitu_mixed(i + key) ^ salt);
                const uint32_t to = ((word & 0xFFFFu) * n->outputs >> 16) - start;
                const int32_t v = insitu_get(x, b * n->inputs + i);

                if (to < count)
                    sums[to] += word >> 31 ? -v : v;
            }
            for (i = 0; i < count; i++)
                insitu_set(y, b * n->outputs + start + i, sums[i]);
        }
    }
}
