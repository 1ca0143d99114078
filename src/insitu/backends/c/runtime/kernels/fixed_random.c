/* SPDX-License-Identifier: Apache-2.0 */
/* A random array that is the same at every step. */
#include "internal.h"

void insitu_fixed_random(const insitu_array *out, uint32_t stream, int32_t reach, const insitu_clock *clock)
{
    uint32_t key = insitu_key(clock->seed, stream, 0), i;

    for (i = 0; i < out->size; i++)
        insitu_set(out, i, insitu_feedback(insitu_word(key, i), reach));
}
