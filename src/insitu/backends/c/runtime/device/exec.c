/* SPDX-License-Identifier: Apache-2.0
 *
 * The device on this machine: requests on stdin, replies on stdout. insitu device --port exec:./device
 */
#include "insitu_device.h"

#include <stdio.h>

static uint32_t arena[(INSITU_ARENA_BYTES + 3u) / 4u];
static uint32_t state[(INSITU_STATE_BYTES + 3u) / 4u];

static int32_t get(void *where)
{
    (void)where;
    (void)fflush(stdout);
    return (int32_t)getchar();
}

static void put(void *where, uint8_t byte)
{
    (void)where;
    (void)putchar((int)byte);
}

int main(void)
{
    static insitu_device port;
    insitu_net net;
    insitu_init(&net, (uint8_t *)arena, (uint8_t *)state);
    port.net = &net;
    port.get = get;
    port.put = put;
    while (insitu_device_serve(&port) == 0) {
    }
    return 0;
}
