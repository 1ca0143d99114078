/* SPDX-License-Identifier: Apache-2.0 */
/* Every sample with every label in turn. */
#include "insitu_kernels.h"

void insitu_overlay_each(const insitu_array *x, const insitu_array *y, uint32_t samples, uint32_t classes, int32_t one)
{
    const uint32_t inner = x->size / samples;
    for (uint32_t n = 0; n < samples * classes; n++) {
        const uint32_t from = (n / classes) * inner;
        for (uint32_t i = 0; i < inner; i++) {
            const int32_t code = i == n % classes ? one : 0;
            insitu_set(y, n * inner + i, i < classes ? code : insitu_get(x, from + i));
        }
    }
}
