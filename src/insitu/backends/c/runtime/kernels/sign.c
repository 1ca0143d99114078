/* SPDX-License-Identifier: Apache-2.0 */
/* y = the sign of x, 0 for 0. */
#include "insitu_kernels.h"

void insitu_sign(const insitu_array *x, const insitu_array *y)
{
    for (uint32_t i = 0; i < y->size; i++) {
        const int32_t v = insitu_get(x, i);
        insitu_set(y, i, (v > 0) - (v < 0));
    }
}
