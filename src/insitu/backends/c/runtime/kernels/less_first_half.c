/* SPDX-License-Identifier: Apache-2.0 */
/* p - one in the first half, p in the second. */
#include "insitu_kernels.h"

void insitu_less_first_half(const insitu_array *p, const insitu_array *e, int32_t one, int32_t low, int32_t high)
{
    for (uint32_t i = 0; i < p->size; i++) {
        insitu_set(e, i, insitu_saturate((int64_t)insitu_get(p, i) - (i < p->size / 2u ? one : 0), low, high));
    }
}
