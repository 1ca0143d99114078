/* SPDX-License-Identifier: Apache-2.0 */
/* y = every row of x times its factor. */
#include "insitu_kernels.h"

void insitu_row_scale(const insitu_array *x, const insitu_array *d, const insitu_array *y)
{
    const uint32_t inner = x->size / d->size;
    for (uint32_t i = 0; i < y->size; i++) {
        insitu_set(y, i, (int32_t)((uint32_t)insitu_get(x, i) * (uint32_t)insitu_get(d, i / inner)));
    }
}
