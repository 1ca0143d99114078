/* SPDX-License-Identifier: Apache-2.0
 *
 * Learns from the console, a line a sample (insitu_serial.h):
 *
 *     3 0.5 0 0.25 ...   a sample of class 3: named, then learned
 *     ? 0.5 0 0.25 ...   a sample: named
 *     !                  step count and CRC-32 of the state
 *
 * A sensor in place of the console: fill an array of INSITU_SAMPLE_VALUES readings from sensor_sample_fetch and
 * sensor_channel_get, and call insitu_quantize_input, insitu_infer and insitu_learn as insitu_serial.h does.
 */
#include "insitu_serial.h"

#include <zephyr/device.h>
#include <zephyr/drivers/uart.h>
#include <zephyr/kernel.h>
#include <zephyr/sys/printk.h>

static const struct device *const uart = DEVICE_DT_GET(DT_CHOSEN(zephyr_console));
static insitu_serial serial;

int main(void)
{
    char answer[INSITU_SERIAL_ANSWER];
    unsigned char c;
    insitu_serial_begin(&serial);
    printk("ready\n");
    for (;;) {
        if (uart_poll_in(uart, &c) != 0) {
            k_yield();
        } else if (insitu_serial_take(&serial, (char)c, answer)) {
            printk("%s", answer);
        }
    }
    return 0;
}
