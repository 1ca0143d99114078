/* SPDX-License-Identifier: Apache-2.0 */
/* y = the sum of squares of each row. */
#include "insitu_kernels.h"

void insitu_row_squares(const insitu_array *x, const insitu_array *y, uint32_t rows)
{
    const uint32_t inner = x->size / rows;
    for (uint32_t r = 0; r < rows; r++) {
        int64_t total = 0;
        for (uint32_t i = 0; i < inner; i++) {
            const int64_t v = insitu_get(x, r * inner + i);
            total += v * v;
        }
        insitu_set(y, r, (int32_t)total);
    }
}
