/* SPDX-License-Identifier: Apache-2.0 */
/* y = x where its random word is at least the threshold, else 0. */
#include "insitu_kernels.h"

void insitu_dropout(const insitu_array *x, const insitu_array *y, uint32_t threshold, uint32_t stream,
                    const insitu_clock *clock)
{
    const uint32_t key = insitu_key(clock->seed, stream, clock->t);
    for (uint32_t i = 0; i < y->size; i++) {
        insitu_set(y, i, insitu_word(key, i) >= threshold ? insitu_get(x, i) : 0);
    }
}
