/* SPDX-License-Identifier: Apache-2.0
 *
 * Pools of bytes on a host; 0 where the portable form has to do it.
 */
#ifndef INSITU_POOLS_H
#define INSITU_POOLS_H

#include "internal.h"

#if defined(INSITU_HOST)

int insitu_host_max_pool(const insitu_array *x, const insitu_array *y, const insitu_array *position, const insitu_conv *n);
int insitu_host_sum_pool(const insitu_array *x, const insitu_array *y, const insitu_conv *n, const insitu_fit *end,
                         const insitu_clock *clock);
int insitu_host_unpool_gate(const insitu_array *d, const insitu_array *y, const insitu_array *e, const insitu_conv *n);
int insitu_host_max_unpool(const insitu_array *d, const insitu_array *position, const insitu_array *e, uint32_t planes);

#endif
#endif
