/* SPDX-License-Identifier: Apache-2.0 */
/* A stored weight as an op computes with it. */
#include "internal.h"

int32_t insitu_weight(const insitu_array *w, uint32_t i, uint32_t channel, const insitu_read *read)
{
    uint32_t left = read->channels == NULL ? 0u : (uint32_t)(uint8_t)read->channels[channel];
    int32_t n;

#ifndef INSITU_NO_REAL
    if (read->how >= INSITU_FROM_REAL)
        n = insitu_weight_real(insitu_get_real(w, i), left, read);
    else
#endif
    {
        n = insitu_get(w, i);
        if (read->how == INSITU_HIGH_BITS)
            n = read->binary ? (n >= 0 ? 1 : -1)
                             : insitu_saturate(insitu_shift(n, read->shift, INSITU_HALF_UP, 0), read->low, read->high);
    }
    if (read->sign)
        return (n > 0) - (n < 0);
    return (int32_t)((uint32_t)n << left);
}
