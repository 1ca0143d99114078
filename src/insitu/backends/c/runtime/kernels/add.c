/* SPDX-License-Identifier: Apache-2.0 */
/* y = a + b. */
#include "internal.h"

void insitu_add(const insitu_array *a, const insitu_array *b, const insitu_array *y)
{
    uint32_t i;

    if (insitu_bytes(a) && insitu_bytes(b) && insitu_bytes(y)) {
        for (i = 0; i < y->size; i++) {
            y->data[i] = (uint8_t)(a->data[i] + b->data[i]);
        }
        return;
    }
    for (i = 0; i < y->size; i++) {
        insitu_set(y, i, (int32_t)((uint32_t)insitu_get(a, i) + (uint32_t)insitu_get(b, i)));
    }
}
