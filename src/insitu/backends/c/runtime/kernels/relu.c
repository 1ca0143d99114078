/* SPDX-License-Identifier: Apache-2.0 */
/* y = max(x, 0). */
#include "internal.h"

void insitu_relu(const insitu_array *x, const insitu_array *y)
{
    uint32_t i;

    if (insitu_bytes(x) && insitu_bytes(y)) {
        const uint8_t most = x->form == INSITU_SIGNED ? 127u : 255u;
        for (i = 0; i < y->size; i++) {
            const uint8_t v = x->data[i];
            y->data[i] = v <= most ? v : 0u;
        }
        return;
    }
    for (i = 0; i < y->size; i++) {
        const int32_t v = insitu_get(x, i);
        insitu_set(y, i, v > 0 ? v : 0);
    }
}
