/* SPDX-License-Identifier: Apache-2.0 */
/* y = a * b. */
#include "insitu_kernels.h"

void insitu_mul(const insitu_array *a, const insitu_array *b, const insitu_array *y)
{
    for (uint32_t i = 0; i < y->size; i++) {
        insitu_set(y, i, insitu_get(a, i) * insitu_get(b, i));
    }
}
