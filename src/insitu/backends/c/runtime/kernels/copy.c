/* SPDX-License-Identifier: Apache-2.0 */
/* Elements from one array into another. */
#include "insitu_kernels.h"

void insitu_copy(const insitu_array *x, const insitu_array *y, uint32_t first, uint32_t to, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++) {
        insitu_set(y, to + i, insitu_get(x, first + i));
    }
}
