/* SPDX-License-Identifier: Apache-2.0 */
/* y = a + b. */
#include "internal.h"

void insitu_add(const insitu_array *a, const insitu_array *b, const insitu_array *y)
{
    uint32_t i;

    if (insitu_bytes(a) && insitu_bytes(b) && insitu_bytes(y)) {
        for (i = 0; i < y->size; i++) {
            y->data[i] = (uint8_t)(a->data[i] + b->data[i]);
        }
        return;
    }
#if defined(INSITU_AVX2)
    for (i = 0; i < y->size; i += INSITU_BLOCK) {
        const uint32_t count = y->size - i < INSITU_BLOCK ? y->size - i : INSITU_BLOCK;
        int32_t one[INSITU_BLOCK], other[INSITU_BLOCK];
        insitu_get_many(a, i, count, one);
        insitu_get_many(b, i, count, other);
        for (uint32_t j = 0; j < count; j++) {
            one[j] = (int32_t)((uint32_t)one[j] + (uint32_t)other[j]);
        }
        insitu_set_many(y, i, count, one);
    }
#else
    for (i = 0; i < y->size; i++) {
        insitu_set(y, i, (int32_t)((uint32_t)insitu_get(a, i) + (uint32_t)insitu_get(b, i)));
    }
#endif
}
