/* SPDX-License-Identifier: Apache-2.0 */
/* How many bits the largest magnitude has too many. */
#include "insitu_kernels.h"

void insitu_exponent(const insitu_array *x, const insitu_array *e, uint32_t groups, uint8_t bits, int8_t usual)
{
    const uint32_t inner = x->size / groups;
    for (uint32_t g = 0; g < groups; g++) {
        uint32_t largest = 0;
        int32_t length;
        for (uint32_t i = 0; i < inner; i++) {
            const int32_t v = insitu_get(x, g * inner + i);
            const uint32_t size = v < 0 ? 0u - (uint32_t)v : (uint32_t)v;
            largest = size > largest ? size : largest;
        }
        length = (int32_t)insitu_bit_length(largest) - ((int32_t)bits - 1);
        insitu_set(e, g, (length > 0 ? length : 0) - usual);
    }
}
