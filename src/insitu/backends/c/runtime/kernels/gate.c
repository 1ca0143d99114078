/* SPDX-License-Identifier: Apache-2.0 */
/* e = d where y > 0, else 0. */
#include "insitu_kernels.h"

void insitu_gate(const insitu_array *d, const insitu_array *y, const insitu_array *e)
{
    for (uint32_t i = 0; i < e->size; i++) {
        insitu_set(e, i, insitu_get(y, i) > 0 ? insitu_get(d, i) : 0);
    }
}
