/* SPDX-License-Identifier: Apache-2.0 */
/* 1 for every class within the margin of the right one, minus their number there. */
#include "internal.h"

uint32_t insitu_margin_error(const insitu_array *z, const insitu_array *label, const insitu_array *e, uint32_t batch,
                             uint32_t classes, int32_t one, int32_t low, int32_t high)
{
    uint32_t fired = 0;

    insitu_clear(e);
    for (uint32_t b = 0; b < batch; b++) {
        const uint32_t first = b * classes, hot = first + (uint32_t)insitu_get(label, b);
        const int64_t limit = (int64_t)insitu_get(z, hot) - one;
        int32_t count = 0;

        for (uint32_t c = first; c < first + classes; c++) {
            if (c != hot && insitu_get(z, c) > limit) {
                insitu_set(e, c, insitu_clip(1, low, high));
                count++;
            }
        }
        insitu_set(e, hot, insitu_clip(-count, low, high));
        fired += count != 0;
    }
    return fired;
}
