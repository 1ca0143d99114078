/* SPDX-License-Identifier: Apache-2.0
 *
 * A network behind a serial port: one request at a time, in frames with a check sum and a sequence number.
 *
 *     static insitu_device port;
 *     port.net = &net; port.get = get_byte; port.put = put_byte;
 *     while (insitu_device_serve(&port) == 0) {}
 *
 * A frame is COBS (bytes without 0) and ends with 0. Decoded, it is: sequence number, kind, content, and the CRC-32 of
 * these, little-endian. A damaged frame is not answered: the host asks again with the same number. A request with the
 * number of the last one is answered from the last reply and not executed again, so nothing is learned twice.
 */
#ifndef INSITU_DEVICE_H
#define INSITU_DEVICE_H

#include "insitu_net.h"

#ifdef __cplusplus
extern "C" {
#endif

#define INSITU_DEVICE_VERSION 1u
#define INSITU_DEVICE_IMAGE (12u + INSITU_UPDATES + INSITU_STATE_BYTES) /* step, seed, rate, shifts, state */
#define INSITU_DEVICE_CHUNK 32u /* bytes of a read or a write of the image */
#define INSITU_DEVICE_CONTENT (INSITU_BATCH_BYTES + INSITU_LABEL_BYTES)
#define INSITU_DEVICE_FRAME (6u + (INSITU_DEVICE_CONTENT < 48u ? 48u : INSITU_DEVICE_CONTENT)) /* decoded */

typedef struct {
    insitu_net *net;
    int32_t (*get)(void *where);             /* waits for a byte; less than 0: the port is closed */
    void (*put)(void *where, uint8_t byte);
    uint32_t (*cycles)(void *where);         /* a counter of the core that wraps (DWT), or NULL */
    void *where;
    uint32_t size;                           /* of the reply */
    int32_t last;                            /* sequence number of the reply */
    uint8_t ready;                           /* a hello was answered: `last` counts */
    uint8_t loading;                         /* a state is half written: neither infer nor learn */
    uint8_t frame[INSITU_DEVICE_FRAME];
    uint8_t reply[54];
} insitu_device;

/* Reads one frame and answers it, if it is whole. All fields but net, get, put, cycles and where begin as 0.
 * 0: go on; -1: the port is closed. */
int32_t insitu_device_serve(insitu_device *port);

#ifdef __cplusplus
}
#endif

#endif
