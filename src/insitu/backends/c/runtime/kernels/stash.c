/* SPDX-License-Identifier: Apache-2.0 */
/* y = 1 where x > 0, else 0. */
#include "internal.h"

void insitu_stash(const insitu_array *x, const insitu_array *y)
{
#if defined(INSITU_AVX2)
    for (uint32_t i = 0; i < y->size; i += INSITU_BLOCK) {
        const uint32_t count = y->size - i < INSITU_BLOCK ? y->size - i : INSITU_BLOCK;
        int32_t block[INSITU_BLOCK];
        insitu_get_many(x, i, count, block);
        for (uint32_t j = 0; j < count; j++) {
            block[j] = block[j] > 0;
        }
        insitu_set_many(y, i, count, block);
    }
#else
    for (uint32_t i = 0; i < y->size; i++) {
        insitu_set(y, i, insitu_get(x, i) > 0 ? 1 : 0);
    }
#endif
}
