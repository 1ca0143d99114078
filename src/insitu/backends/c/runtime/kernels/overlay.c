/* SPDX-License-Identifier: Apache-2.0 */
/* Samples with the code of their labels in their first elements. */
#include "insitu_kernels.h"

void insitu_overlay(const insitu_array *x, const insitu_array *label, const insitu_array *y, uint32_t samples,
                    uint32_t classes, int32_t one)
{
    const uint32_t inner = x->size / samples;
    for (uint32_t n = 0; n < label->size; n++) {
        const uint32_t from = (n % samples) * inner;
        const uint32_t hot = (uint32_t)insitu_get(label, n);
        for (uint32_t i = 0; i < inner; i++) {
            const int32_t code = i == hot ? one : 0;
            insitu_set(y, n * inner + i, i < classes ? code : insitu_get(x, from + i));
        }
    }
}
