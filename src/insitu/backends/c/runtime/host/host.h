/* SPDX-License-Identifier: Apache-2.0 */
/* What a step calls on a host alone: behind every trigger, with the number of samples that it has fired for. */
#ifndef INSITU_HOST_H
#define INSITU_HOST_H

#include "insitu_net.h"

void insitu_host_fired(insitu_net *net, uint32_t trigger, uint32_t samples);

#endif
