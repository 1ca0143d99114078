/* SPDX-License-Identifier: Apache-2.0 */
/* The row of a feedback matrix that belongs to each label, made again instead of kept. */
#include "internal.h"

void insitu_random_rows(const insitu_array *label, const insitu_array *out, const insitu_dense *n, uint32_t stream,
                        int32_t reach, const insitu_clock *clock)
{
    uint32_t key = insitu_key(clock->seed, stream, 0), b, i;

    for (b = 0; b < n->batch; b++) {
        uint32_t row = (uint32_t)insitu_get(label, b) * n->inputs;

        for (i = 0; i < n->inputs; i++)
            insitu_set(out, b * n->inputs + i, insitu_feedback(insitu_word(key, row + i), reach));
    }
}
