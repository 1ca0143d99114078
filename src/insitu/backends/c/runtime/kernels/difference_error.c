/* SPDX-License-Identifier: Apache-2.0 */
/* z - one at the label. */
#include "insitu_kernels.h"

void insitu_difference_error(const insitu_array *z, const insitu_array *label, const insitu_array *e, uint32_t batch,
                             uint32_t classes, int32_t one, int32_t low, int32_t high)
{
    for (uint32_t i = 0; i < batch * classes; i++) {
        const int32_t t = i % classes == (uint32_t)insitu_get(label, i / classes) ? one : 0;
        insitu_set(e, i, insitu_saturate((int64_t)insitu_get(z, i) - t, low, high));
    }
}
