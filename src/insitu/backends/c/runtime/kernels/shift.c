/* SPDX-License-Identifier: Apache-2.0 */
/* Rounding by a shift, saturation, bit lengths. */
#include "internal.h"

int32_t insitu_saturate(int64_t x, int32_t low, int32_t high)
{
    return x < low ? low : x > high ? high : (int32_t)x;
}

int64_t insitu_shift(int64_t x, int32_t k, uint8_t rounding, uint32_t word)
{
    int32_t most = rounding == INSITU_STOCHASTIC ? 32 : 40;
    uint64_t half, part;

    if (k <= 0)
        return insitu_left(x, 0u - (uint32_t)k);
    if (k > most)
        k = most;
    half = 0;
    if (rounding == INSITU_HALF_UP)
        half = (uint64_t)1 << (k - 1);
    else if (rounding == INSITU_STOCHASTIC)
        half = word >> (32 - k);
    part = ((uint64_t)x & (((uint64_t)1 << k) - 1u)) + half;
    return insitu_asr64(x, (uint32_t)k) + (int64_t)(part >> k);
}

uint32_t insitu_bit_length(uint64_t n)
{
    uint32_t length = 0, step;

    for (step = 32u; step > 0u; step >>= 1)
        if (n >> step) {
            n >>= step;
            length += step;
        }
    return length + (uint32_t)n;
}
