/* SPDX-License-Identifier: Apache-2.0 */
/* y = 1 where x > 0, else 0. */
#include "insitu_kernels.h"

void insitu_stash(const insitu_array *x, const insitu_array *y)
{
    for (uint32_t i = 0; i < y->size; i++) {
        insitu_set(y, i, insitu_get(x, i) > 0 ? 1 : 0);
    }
}
