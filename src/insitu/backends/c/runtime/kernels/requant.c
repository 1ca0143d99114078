/* SPDX-License-Identifier: Apache-2.0 */
/* Fewer bits, at a shift that a run-time exponent may add to. */
#include "internal.h"

#if defined(INSITU_AVX2)

/* Elements first to last are shifted, to nearest or to the left. */
static int by_many(const insitu_array *x, const insitu_array *y, uint32_t first, uint32_t last, const insitu_fit *fit)
{
    const int32_t low = fit->low, high = fit->high;
    const uint32_t k = fit->shift < 0 ? 0u : (uint32_t)fit->shift, left = fit->shift < 0 ? (uint32_t)-fit->shift : 0u;
    int32_t block[INSITU_BLOCK];

    if (fit->limited || fit->times != 1 || fit->rounding != INSITU_HALF_UP || fit->shift > 31 || x->bits + left > 31u ||
        y->form > INSITU_SIGNED)
        return 0;
    for (uint32_t i = first; i < last; i += INSITU_BLOCK) {
        const uint32_t count = last - i < INSITU_BLOCK ? last - i : INSITU_BLOCK;
        insitu_get_many(x, i, count, block);
        for (uint32_t j = 0; j < count; j++) {
            const int32_t up = k == 0u ? 0 : insitu_asr(block[j], k - 1u) & 1;
            block[j] = insitu_clip(insitu_asr((int32_t)((uint32_t)block[j] << left), k) + up, low, high);
        }
        insitu_set_many(y, i, count, block);
    }
    return 1;
}

#endif

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
#if defined(INSITU_AVX2)
        if (by_many(x, y, g * inner, (g + 1u) * inner, &now))
            continue;
#endif
        for (uint32_t i = g * inner; i < (g + 1u) * inner; i++) {
            const int32_t v = bytes ? insitu_byte(x->data, i, is_signed) : insitu_get(x, i);
            insitu_finish32(y, i, v, &now, clock);
        }
    }
}
