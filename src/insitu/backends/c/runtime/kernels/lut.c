/* SPDX-License-Identifier: Apache-2.0 */
/* y = table[x - least]. */
#include "internal.h"

#if defined(INSITU_VNNI)
#include "lut_avx512.h"
#endif

void insitu_lut(const insitu_array *x, const insitu_array *y, const insitu_array *table, int32_t least)
{
    uint32_t i = 0;

    if (insitu_bytes(x) && insitu_bytes(y) && insitu_bytes(table)) {
#if defined(INSITU_VNNI)
        if (table->size == 256u)
            i = look_up_64bytes(x->data, y->data, table->data, (uint8_t)least, y->size);
#endif
        for (; i < y->size; i++) {
            y->data[i] = table->data[(uint8_t)(x->data[i] - (uint32_t)least)];
        }
        return;
    }
    for (; i < y->size; i++) {
        insitu_set(y, i, insitu_get(table, (uint32_t)insitu_get(x, i) - (uint32_t)least));
    }
}
