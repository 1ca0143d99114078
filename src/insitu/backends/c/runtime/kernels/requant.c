/* SPDX-License-Identifier: Apache-2.0 */
/* Fewer bits, at a shift that a run-time exponent may add to. */
#include "insitu_kernels.h"

void insitu_requant(const insitu_array *x, const insitu_array *e, const insitu_array *y, const insitu_fit *fit,
                    uint8_t minus, const insitu_clock *clock)
{
    const uint32_t inner = e == NULL ? x->size : x->size / e->size;
    insitu_fit now = *fit;
    for (uint32_t i = 0; i < x->size; i++) {
        if (e != NULL && i % inner == 0u) {
            const int32_t more = insitu_get(e, i / inner);
            const int32_t shift = (int32_t)fit->shift + (minus ? -more : more);
            now.shift = (int8_t)insitu_saturate(shift, -128, 127);
        }
        insitu_set(y, i, insitu_fitted(insitu_get(x, i), &now, clock, i));
    }
}
