/* SPDX-License-Identifier: Apache-2.0
 *
 * Learns from standard input and output, which the application brings to a serial line (CMSIS-Compiler: STDIN, STDOUT).
 * A line a sample: 3 0.5 0 0.25 ... of class 3; ? 0.5 0 0.25 ... to be named; ! for step count and CRC-32 of the state.
 */
#include "insitu_serial.h"
#include <stdio.h>

static insitu_serial serial;

int main(void)
{
    char answer[INSITU_SERIAL_ANSWER];
    int c;
    insitu_serial_begin(&serial);
    while ((c = getchar()) != EOF) {
        if (insitu_serial_take(&serial, (char)c, answer)) {
            fputs(answer, stdout);
            fflush(stdout);
        }
    }
    return 0;
}
