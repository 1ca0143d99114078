/* SPDX-License-Identifier: Apache-2.0
 *
 * Learns from the console, a line a sample (insitu_serial.h):
 *
 *     3 0.5 0 0.25 ...   a sample of class 3: named, then learned
 *     ? 0.5 0 0.25 ...   a sample: named
 *     !                  step count and CRC-32 of the state
 *
 * A sensor in place of the console: fill an array of INSITU_SAMPLE_VALUES readings, and call insitu_quantize_input,
 * insitu_infer and insitu_learn as insitu_serial.h does. insitu_state_save writes into two slots, such as a partition of
 * two erase blocks.
 */
#include "insitu_serial.h"

#include "freertos/FreeRTOS.h"
#include "freertos/task.h"
#include <stdio.h>

static insitu_serial serial;

void app_main(void)
{
    char answer[INSITU_SERIAL_ANSWER];
    insitu_serial_begin(&serial);
    puts("ready");
    for (;;) {
        const int c = getchar();
        if (c == EOF) { /* nothing has come yet */
            vTaskDelay(1);
        } else if (insitu_serial_take(&serial, (char)c, answer)) {
            fputs(answer, stdout);
            fflush(stdout);
        }
    }
}
