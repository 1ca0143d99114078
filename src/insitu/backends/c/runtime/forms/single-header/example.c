/* SPDX-License-Identifier: Apache-2.0
 *
 * Learns from the standard input, a line a sample (insitu_serial.h): cc -O2 example.c -o example && ./example
 */
#define INSITU_IMPLEMENTATION
#include "insitu_net.h"

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
