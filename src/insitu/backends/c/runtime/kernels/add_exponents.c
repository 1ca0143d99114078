/* SPDX-License-Identifier: Apache-2.0 */
/* The sum of two exponents, saturated to 8 bits. */
#include "insitu_kernels.h"

void insitu_add_exponents(const insitu_array *e, const insitu_array *f, const insitu_array *out)
{
    for (uint32_t i = 0; i < out->size; i++) {
        const int32_t sum = insitu_get(e, e->size == 1u ? 0u : i) + insitu_get(f, f->size == 1u ? 0u : i);
        insitu_set(out, i, insitu_saturate(sum, -128, 127));
    }
}
