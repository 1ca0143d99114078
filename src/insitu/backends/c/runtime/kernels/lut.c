/* SPDX-License-Identifier: Apache-2.0 */
/* y = table[x - least]. */
#include "insitu_kernels.h"

void insitu_lut(const insitu_array *x, const insitu_array *y, const insitu_array *table, int32_t least)
{
    for (uint32_t i = 0; i < y->size; i++) {
        insitu_set(y, i, insitu_get(table, (uint32_t)(insitu_get(x, i) - least)));
    }
}
