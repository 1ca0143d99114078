/* SPDX-License-Identifier: Apache-2.0 */
/* What a step calls on a host alone: behind every trigger, whose error `e` it has just made. */
#ifndef INSITU_HOST_H
#define INSITU_HOST_H

#include "insitu_net.h"

void insitu_host_fired(insitu_net *net, uint32_t trigger, const insitu_array *e, uint32_t batch);

#endif
