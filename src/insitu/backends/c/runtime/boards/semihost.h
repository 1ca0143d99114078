/* SPDX-License-Identifier: Apache-2.0
 *
 * What a program on an emulated board can say: it is printed by the emulator, not by a serial port.
 * The exit status is what main returns: 0 to 254; anything else arrives as 255.
 */
#ifndef INSITU_SEMIHOST_H
#define INSITU_SEMIHOST_H

#include <stdint.h>

void print(const char *text);
void print_number(int32_t number);
void print_hex(uint32_t word); /* eight digits, no prefix */

#endif
