/* SPDX-License-Identifier: Apache-2.0 */
/* Samples without a label: every element of the code is `one`. */
#include "insitu_kernels.h"

void insitu_overlay_even(const insitu_array *x, const insitu_array *y, uint32_t samples, uint32_t classes, int32_t one)
{
    const uint32_t inner = x->size / samples;
    for (uint32_t i = 0; i < x->size; i++) {
        insitu_set(y, i, i % inner < classes ? one : insitu_get(x, i));
    }
}
