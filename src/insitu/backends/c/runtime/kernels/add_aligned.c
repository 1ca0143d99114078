/* SPDX-License-Identifier: Apache-2.0 */
/* The sum of two arrays at the larger of their exponents. */
#include "insitu_kernels.h"

void insitu_add_aligned(const insitu_array *a, const insitu_array *b, const insitu_array *e, const insitu_array *f,
                        const insitu_array *y, const insitu_array *high, int8_t shift_a, int8_t shift_b, int32_t low,
                        int32_t most)
{
    const int32_t of_a = (e == NULL ? 0 : insitu_get(e, 0)) + shift_a;
    const int32_t of_b = (f == NULL ? 0 : insitu_get(f, 0)) + shift_b;
    const int32_t larger = of_a > of_b ? of_a : of_b;
    for (uint32_t i = 0; i < y->size; i++) {
        const int64_t one = insitu_shift(insitu_get(a, i), larger - of_a, INSITU_HALF_UP, 0u);
        const int64_t other = insitu_shift(insitu_get(b, i), larger - of_b, INSITU_HALF_UP, 0u);
        insitu_set(y, i, insitu_saturate(one + other, low, most));
    }
    insitu_set(high, 0, larger);
}
