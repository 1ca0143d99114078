/* SPDX-License-Identifier: Apache-2.0 */
/* y = a * b. */
#include "internal.h"

void insitu_mul(const insitu_array *a, const insitu_array *b, const insitu_array *y)
{
#if defined(INSITU_AVX2)
    for (uint32_t i = 0; i < y->size; i += INSITU_BLOCK) {
        const uint32_t count = y->size - i < INSITU_BLOCK ? y->size - i : INSITU_BLOCK;
        int32_t left[INSITU_BLOCK], right[INSITU_BLOCK];
        insitu_get_many(a, i, count, left);
        insitu_get_many(b, i, count, right);
        for (uint32_t j = 0; j < count; j++) {
            left[j] = (int32_t)((uint32_t)left[j] * (uint32_t)right[j]);
        }
        insitu_set_many(y, i, count, left);
    }
#else
    for (uint32_t i = 0; i < y->size; i++) {
        insitu_set(y, i, (int32_t)((uint32_t)insitu_get(a, i) * (uint32_t)insitu_get(b, i)));
    }
#endif
}
