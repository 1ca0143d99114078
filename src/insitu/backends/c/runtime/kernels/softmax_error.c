/* SPDX-License-Identifier: Apache-2.0 */
/* p - one at the label, p = round(one E / sum of E), E from a table of exponentials. */
#include "insitu_kernels.h"

static uint32_t power(const insitu_array *table, int32_t most, int32_t z)
{
    const uint32_t below = (uint32_t)most - (uint32_t)z;
    return (uint32_t)insitu_get(table, below < table->size ? below : table->size - 1u);
}

void insitu_softmax_error(const insitu_array *z, const insitu_array *label, const insitu_array *e, uint32_t batch,
                          uint32_t classes, const insitu_array *table, int32_t one, int32_t low, int32_t high)
{
    const uint32_t length = insitu_bit_length((uint32_t)one);
    for (uint32_t b = 0; b < batch; b++) {
        const uint32_t first = b * classes, hot = first + (uint32_t)insitu_get(label, b);
        int32_t most = INT32_MIN;
        uint64_t total = 0;
        for (uint32_t i = first; i < first + classes; i++) {
            const int32_t v = insitu_get(z, i);
            most = v > most ? v : most;
        }
        for (uint32_t i = first; i < first + classes; i++) {
            total += power(table, most, insitu_get(z, i));
        }
        for (uint32_t i = first; i < first + classes; i++) {
            uint64_t rest = (uint64_t)2u * (uint32_t)one * power(table, most, insitu_get(z, i)) + total;
            int64_t p = i == hot ? -(int64_t)one : 0;
            for (uint32_t bit = length; bit-- > 0u;) { /* rest / (2 total), at most one: no library is needed */
                const uint64_t part = total << (bit + 1u);
                if (rest >= part) {
                    rest -= part;
                    p += (int64_t)1 << bit;
                }
            }
            insitu_set(e, i, insitu_saturate(p, low, high));
        }
    }
}
