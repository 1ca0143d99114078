/* SPDX-License-Identifier: Apache-2.0 */
/* 1 for every class within the margin of the right one, minus their number there. */
#include "insitu_kernels.h"

void insitu_margin_error(const insitu_array *z, const insitu_array *label, const insitu_array *e, uint32_t batch,
                         uint32_t classes, int32_t one, int32_t low, int32_t high)
{
    for (uint32_t b = 0; b < batch; b++) {
        const uint32_t hot = (uint32_t)insitu_get(label, b);
        const int64_t right = insitu_get(z, b * classes + hot);
        int32_t count = 0;
        for (uint32_t c = 0; c < classes; c++) {
            count += c != hot && insitu_get(z, b * classes + c) - right + one > 0;
        }
        for (uint32_t c = 0; c < classes; c++) {
            const int32_t wrong = c != hot && insitu_get(z, b * classes + c) - right + one > 0;
            insitu_set(e, b * classes + c, insitu_saturate(c == hot ? -count : wrong, low, high));
        }
    }
}
