/* SPDX-License-Identifier: Apache-2.0 */
/* Fewer bits, at a shift that a run-time exponent may add to. */
#include "internal.h"

void insitu_requant(const insitu_array *x, const insitu_array *e, const insitu_array *y, const insitu_fit *fit,
                    uint8_t minus, const insitu_clock *clock)
{
    const uint32_t groups = e == NULL ? 1u : e->size;
    const uint32_t inner = x->size / groups;
    const int bytes = insitu_bytes(x);
    const uint8_t is_signed = x->form == INSITU_SIGNED;
    insitu_fit now = *fit;
    for (uint32_t g = 0; g < groups; g++) {
        if (e != NULL) {
            const int32_t more = insitu_get(e, g);
            now.shift = (int8_t)insitu_saturate(fit->shift + (minus ? -more : more), -128, 127);
        }
        for (uint32_t i = g * inner; i < (g + 1u) * inner; i++) {
            const int32_t v = bytes ? insitu_byte(x->data, i, is_signed) : insitu_get(x, i);
            insitu_finish32(y, i, v, &now, clock);
        }
    }
}
