/* SPDX-License-Identifier: Apache-2.0 */
/* z = x where y (or x) is 0 or more, else x >> shift. */
#include "insitu_kernels.h"

void insitu_leaky(const insitu_array *x, const insitu_array *y, const insitu_array *z, uint8_t shift)
{
    for (uint32_t i = 0; i < z->size; i++) {
        const int32_t v = insitu_get(x, i);
        const int32_t by = y == NULL ? v : insitu_get(y, i);
        insitu_set(z, i, by >= 0 ? v : (int32_t)insitu_shift(v, shift, INSITU_FLOOR, 0u));
    }
}
