/* SPDX-License-Identifier: Apache-2.0 */
/* y = table[x - least]. */
#include "internal.h"

void insitu_lut(const insitu_array *x, const insitu_array *y, const insitu_array *table, int32_t least)
{
    uint32_t i;

    if (insitu_bytes(x) && insitu_bytes(y) && insitu_bytes(table)) {
        for (i = 0; i < y->size; i++) {
            y->data[i] = table->data[(uint8_t)(x->data[i] - (uint32_t)least)];
        }
        return;
    }
    for (i = 0; i < y->size; i++) {
        insitu_set(y, i, insitu_get(table, (uint32_t)insitu_get(x, i) - (uint32_t)least));
    }
}
