/* SPDX-License-Identifier: Apache-2.0 */
/* Half the bits of the sum of squares over `by`. */
#include "insitu_kernels.h"

void insitu_norm_exponent(const insitu_array *x, const insitu_array *e, uint32_t groups, uint32_t by)
{
    const uint32_t inner = x->size / groups;
    for (uint32_t g = 0; g < groups; g++) {
        uint64_t total = 0;
        for (uint32_t i = 0; i < inner; i++) {
            const int64_t v = insitu_get(x, g * inner + i);
            total += (uint64_t)(v * v);
        }
        insitu_set(e, g, (int32_t)((insitu_bit_length(total / by) + 1u) / 2u));
    }
}
