/* SPDX-License-Identifier: Apache-2.0 */
/* y = a - b. */
#include "insitu_kernels.h"

void insitu_sub(const insitu_array *a, const insitu_array *b, const insitu_array *y)
{
    for (uint32_t i = 0; i < y->size; i++) {
        insitu_set(y, i, (int32_t)((uint32_t)insitu_get(a, i) - (uint32_t)insitu_get(b, i)));
    }
}
