/* SPDX-License-Identifier: Apache-2.0 */
/* e = d where y > 0, else 0. */
#include "internal.h"

#if defined(INSITU_AVX2)
#include "gate_avx2.h"
#endif

void insitu_gate(const insitu_array *d, const insitu_array *y, const insitu_array *e)
{
    uint32_t i;

    if (insitu_bytes(d) && insitu_bytes(y) && insitu_bytes(e)) {
        const uint8_t most = y->form == INSITU_SIGNED ? 127u : 255u;
        i = 0;
#if defined(INSITU_AVX2)
        if (y->form == INSITU_UNSIGNED)
            i = gate_bytes(d->data, y->data, e->data, e->size);
#endif
        for (; i < e->size; i++) {
            const uint8_t below = (uint8_t)(y->data[i] - 1u); /* 255 for 0 */
            e->data[i] = below < most ? d->data[i] : 0u;
        }
        return;
    }
#if defined(INSITU_AVX2)
    for (i = 0; i < e->size; i += INSITU_BLOCK) {
        const uint32_t count = e->size - i < INSITU_BLOCK ? e->size - i : INSITU_BLOCK;
        int32_t error[INSITU_BLOCK], value[INSITU_BLOCK];
        insitu_get_many(d, i, count, error);
        insitu_get_many(y, i, count, value);
        for (uint32_t j = 0; j < count; j++) {
            error[j] = value[j] > 0 ? error[j] : 0;
        }
        insitu_set_many(e, i, count, error);
    }
#else
    for (i = 0; i < e->size; i++) {
        insitu_set(e, i, insitu_get(y, i) > 0 ? insitu_get(d, i) : 0);
    }
#endif
}
