/* SPDX-License-Identifier: Apache-2.0 */
/* A real weight as an op computes with it: rounded to its format. */
#include "internal.h"

/* The integer nearest to a real, ties up. */
static int32_t nearest(float position, int32_t low, int32_t high)
{
    float up = position + 0.5f;
    int32_t whole;

    if (!(up >= -2147483648.0f))
        return low;
    if (up >= 2147483648.0f)
        return high;
    whole = (int32_t)up;
    if ((float)whole > up)
        whole--;
    return insitu_clip(whole, low, high);
}

/* The nearest of 0 and +-1, 2, 4, ... `most`; ties up. */
static int32_t nearest_power(float position, int32_t most)
{
    float size = position < 0.0f ? -position : position, p = 1.0f;
    int32_t n = 1, above = position > 0.0f;

    if (size >= (float)most)
        return above ? most : -most;
    if (size < 1.0f) {
        n = above ? size >= 0.5f : size > 0.5f;
        return above ? n : -n;
    }
    while (2.0f * p <= size) { /* at most 30 times */
        p *= 2.0f;
        n *= 2;
    }
    if (above ? size >= 1.5f * p : size > 1.5f * p)
        n *= 2;
    return above ? n : -n;
}

int32_t insitu_weight_real(float real, uint32_t left, const insitu_read *read)
{
    float position;
    union {
        uint32_t bits;
        float real;
    } gain;

    if (left != 0u) {
        gain.bits = (127u + left) << 23;
        real /= gain.real;
    }
    position = real * read->per_unit;
    if (read->binary)
        return position >= 0.0f ? 1 : -1;
    if (read->how == INSITU_POWER_FROM_REAL)
        return nearest_power(position, read->high);
    return nearest(position, read->low, read->high);
}
