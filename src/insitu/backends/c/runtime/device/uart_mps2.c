/* SPDX-License-Identifier: Apache-2.0
 *
 * The device on Arm's MPS2 boards (mps2-an385, mps2-an386, mps2-an500), on UART 0 of the CMSDK; also where the core has a
 * cycle counter (DWT), which QEMU does not model: it reads 0 there.
 */
#include "insitu_device.h"

#define UART ((volatile uint32_t *)0x40004000u) /* data, state, control, interrupts, divider */
#define DEMCR (*(volatile uint32_t *)0xE000EDFCu)
#define DWT_CTRL (*(volatile uint32_t *)0xE0001000u)
#define DWT_CYCCNT (*(volatile uint32_t *)0xE0001004u)

static uint32_t arena[(INSITU_ARENA_BYTES + 3u) / 4u];
static uint32_t state[(INSITU_STATE_BYTES + 3u) / 4u];

static int32_t get(void *where)
{
    (void)where;
    while ((UART[1] & 2u) == 0u) { /* nothing received */
    }
    return (int32_t)(UART[0] & 0xffu);
}

static void put(void *where, uint8_t byte)
{
    (void)where;
    while ((UART[1] & 1u) != 0u) { /* the last byte is still here */
    }
    UART[0] = byte;
}

static uint32_t cycles(void *where)
{
    (void)where;
    return DWT_CYCCNT;
}

int main(void)
{
    static insitu_device port;
    insitu_net net;
    UART[4] = 16u;
    UART[2] = 3u;
    DEMCR |= 1u << 24;
    DWT_CTRL |= 1u;
    insitu_init(&net, (uint8_t *)arena, (uint8_t *)state);
    port.net = &net;
    port.get = get;
    port.put = put;
    port.cycles = cycles;
    while (insitu_device_serve(&port) == 0) {
    }
    return 0;
}
