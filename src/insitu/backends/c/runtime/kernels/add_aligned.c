/* SPDX-License-Identifier: Apache-2.0 */
/* The sum of two arrays at the larger of their exponents. */
#include "internal.h"

#if defined(INSITU_AVX2)

INSITU_INLINE int32_t rounded(int32_t x, uint32_t k)
{
    return k == 0u ? x : insitu_asr(x, k) + (insitu_asr(x, k - 1u) & 1);
}

/* Words of 16 bits at most, in 32. */
static int by_many(const insitu_array *a, const insitu_array *b, const insitu_array *y, int32_t shift_a, int32_t shift_b,
                   int32_t low, int32_t most)
{
    const uint32_t of_a = (uint32_t)(shift_a < 31 ? shift_a : 31), of_b = (uint32_t)(shift_b < 31 ? shift_b : 31);
    int32_t one[INSITU_BLOCK], other[INSITU_BLOCK];

    if (a->bits > 16u || b->bits > 16u)
        return 0;
    for (uint32_t i = 0; i < y->size; i += INSITU_BLOCK) {
        const uint32_t count = y->size - i < INSITU_BLOCK ? y->size - i : INSITU_BLOCK;
        insitu_get_many(a, i, count, one);
        insitu_get_many(b, i, count, other);
        for (uint32_t j = 0; j < count; j++) {
            one[j] = insitu_clip(rounded(one[j], of_a) + rounded(other[j], of_b), low, most);
        }
        insitu_set_many(y, i, count, one);
    }
    return 1;
}

#endif

void insitu_add_aligned(const insitu_array *a, const insitu_array *b, const insitu_array *e, const insitu_array *f,
                        const insitu_array *y, const insitu_array *high, int8_t shift_a, int8_t shift_b, int32_t low,
                        int32_t most)
{
    const int32_t of_a = (e == NULL ? 0 : insitu_get(e, 0)) + shift_a;
    const int32_t of_b = (f == NULL ? 0 : insitu_get(f, 0)) + shift_b;
    const int32_t larger = of_a > of_b ? of_a : of_b;
#if defined(INSITU_AVX2)
    if (by_many(a, b, y, larger - of_a, larger - of_b, low, most)) {
        insitu_set(high, 0, larger);
        return;
    }
#endif
    for (uint32_t i = 0; i < y->size; i++) {
        const int64_t one = insitu_shift(insitu_get(a, i), larger - of_a, INSITU_HALF_UP, 0u);
        const int64_t other = insitu_shift(insitu_get(b, i), larger - of_b, INSITU_HALF_UP, 0u);
        insitu_set(y, i, insitu_saturate(one + other, low, most));
    }
    insitu_set(high, 0, larger);
}
