/* SPDX-License-Identifier: Apache-2.0 */
/* y = x - by. */
#include "insitu_kernels.h"

void insitu_offset(const insitu_array *x, const insitu_array *y, int32_t by)
{
    for (uint32_t i = 0; i < y->size; i++) {
        insitu_set(y, i, insitu_get(x, i) - by);
    }
}
