/* SPDX-License-Identifier: Apache-2.0 */
/* e = d where low < y < high, else 0. */
#include "insitu_kernels.h"

void insitu_inside(const insitu_array *d, const insitu_array *y, const insitu_array *e, int32_t low, int32_t high)
{
    for (uint32_t i = 0; i < e->size; i++) {
        const int32_t v = insitu_get(y, i);
        insitu_set(e, i, v > low && v < high ? insitu_get(d, i) : 0);
    }
}
