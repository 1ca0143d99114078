/* SPDX-License-Identifier: Apache-2.0 */
/* y = x - by. */
#include "insitu_kernels.h"

void insitu_offset(const insitu_array *x, const insitu_array *y, int32_t by)
{
    for (uint32_t i = 0; i < y->size; i++) {
        insitu_set(y, i, (int32_t)((uint32_t)insitu_get(x, i) - (uint32_t)by));
    }
}
