/* SPDX-License-Identifier: Apache-2.0 */
/* y = x where the random word of each group of neighbours is at least the threshold, else 0. */
#include "internal.h"

void insitu_dropout(const insitu_array *x, const insitu_array *y, uint32_t threshold, uint32_t each,
                    uint32_t stream, const insitu_clock *clock)
{
    const uint32_t key = insitu_key(clock->seed, stream, clock->t);
#if defined(INSITU_AVX2)
    const uint32_t salt = insitu_salt(key);
    for (uint32_t i = 0; each == 1 && i < y->size; i += INSITU_BLOCK) {
        const uint32_t count = y->size - i < INSITU_BLOCK ? y->size - i : INSITU_BLOCK;
        int32_t block[INSITU_BLOCK];
        insitu_get_many(x, i, count, block);
        for (uint32_t j = 0; j < count; j++) {
            block[j] = insitu_mixed(insitu_mixed(i + j + key) ^ salt) >= threshold ? block[j] : 0;
        }
        insitu_set_many(y, i, count, block);
    }
    if (each == 1) {
        return;
    }
#endif
    uint32_t group = 0;
    for (uint32_t i = 0; i < y->size; i += each) {
        const int keep = insitu_word(key, group) >= threshold;
        for (uint32_t j = i; j < i + each; j++) {
            insitu_set(y, j, keep ? insitu_get(x, j) : 0);
        }
        group++;
    }
}
