/* SPDX-License-Identifier: Apache-2.0 */
/* y = the sign of x, +1 for 0. */
#include "insitu_kernels.h"

void insitu_binarize(const insitu_array *x, const insitu_array *y)
{
    for (uint32_t i = 0; i < y->size; i++) {
        insitu_set(y, i, insitu_get(x, i) >= 0 ? 1 : -1);
    }
}
