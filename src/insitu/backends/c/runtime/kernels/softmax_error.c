/* SPDX-License-Identifier: Apache-2.0 */
/* p - one at the label, p = round(one E / sum of E), E from a table of exponentials. */
#include "insitu_kernels.h"

void insitu_softmax_error(const insitu_array *z, const insitu_array *label, const insitu_array *e, uint32_t batch,
                          uint32_t classes, const insitu_array *table, int32_t one, int32_t low, int32_t high)
{
    for (uint32_t b = 0; b < batch; b++) {
        const uint32_t hot = (uint32_t)insitu_get(label, b);
        int32_t most = insitu_get(z, b * classes);
        int64_t total = 0;
        for (uint32_t c = 1; c < classes; c++) {
            const int32_t v = insitu_get(z, b * classes + c);
            most = v > most ? v : most;
        }
        for (uint32_t c = 0; c < classes; c++) {
            const uint32_t below = (uint32_t)(most - insitu_get(z, b * classes + c));
            total += insitu_get(table, below < table->size ? below : table->size - 1u);
        }
        for (uint32_t c = 0; c < classes; c++) {
            const uint32_t below = (uint32_t)(most - insitu_get(z, b * classes + c));
            const int64_t power = insitu_get(table, below < table->size ? below : table->size - 1u);
            const int64_t p = (2 * (int64_t)one * power + total) / (2 * total);
            insitu_set(e, b * classes + c, insitu_saturate(p - (c == hot ? one : 0), low, high));
        }
    }
}
