/* SPDX-License-Identifier: Apache-2.0 */
/* Errors back to the positions of the maxima. */
#include "internal.h"

#if defined(INSITU_HOST)
#include "pools.h"
#endif

void insitu_max_unpool(const insitu_array *d, const insitu_array *position, const insitu_array *e, uint32_t planes)
{
    const uint32_t inner = d->size / planes, size = e->size / planes;
#if defined(INSITU_HOST)
    if (insitu_host_max_unpool(d, position, e, planes))
        return;
#endif
    for (uint32_t i = 0; i < e->size; i++) {
        insitu_set(e, i, 0);
    }
    for (uint32_t i = 0; i < d->size; i++) {
        const uint32_t at = i / inner * size + (uint32_t)insitu_get(position, i);
        insitu_set(e, at, insitu_get(e, at) + insitu_get(d, i));
    }
}
