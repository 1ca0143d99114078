/* SPDX-License-Identifier: Apache-2.0
 *
 * The protocol of insitu_device.h; docs/device.md has the table of requests.
 */
#include "insitu_device.h"

enum { HELLO = 1, INFER = 2, LEARN = 3, READ = 4, WRITE = 5, COMMIT = 6 };
enum { BAD_REQUEST = -21, IS_LOADING = -22, BAD_IMAGE = -23 };

typedef union {
    float real;
    uint32_t bits;
} rate_bits;

static uint32_t word(const uint8_t *p)
{
    return (uint32_t)p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
}

static void add(insitu_device *port, uint32_t n)
{
    for (uint32_t i = 0; i < 4u; i++) {
        port->reply[port->size++] = (uint8_t)(n >> (8u * i));
    }
}

/* --- frames -------------------------------------------------------------------------------------------------------- */

/* The length of the next frame, decoded; 0: damaged; -1: closed. Reads up to the 0 that ends a frame in any case. */
static int32_t receive(insitu_device *port)
{
    uint32_t size = 0, code = 255, left = 0;
    int whole = 1;
    for (;;) {
        const int32_t byte = port->get(port->where);
        int store = left > 0u;
        uint8_t value = (uint8_t)byte;
        if (byte < 0) {
            return -1;
        }
        if (byte == 0) {
            return whole && left == 0u ? (int32_t)size : 0;
        }
        if (store) {
            left--;
        } else { /* this byte says how far the next 0 is, and stands for the last one */
            store = code != 255u;
            value = 0;
            code = (uint32_t)byte;
            left = code - 1u;
        }
        if (store && size < INSITU_DEVICE_FRAME) {
            port->frame[size++] = value;
        } else if (store) {
            whole = 0;
        }
    }
}

/* The reply, which is shorter than 254 bytes, as a frame. A 0 goes ahead: it ends what noise may have begun. */
static void send(insitu_device *port)
{
    uint32_t at = 0;
    port->put(port->where, 0);
    while (at <= port->size) {
        uint32_t end = at;
        while (end < port->size && port->reply[end] != 0u) {
            end++;
        }
        port->put(port->where, (uint8_t)(end - at + 1u));
        for (; at < end; at++) {
            port->put(port->where, port->reply[at]);
        }
        at = end + 1u;
    }
    port->put(port->where, 0);
}

/* --- the image of the state ------------------------------------------------------------------------------------------ */

/* Reads byte i of step count, seed, rate, shifts and state; or writes it. */
static uint8_t image(insitu_device *port, uint32_t i, int write, uint8_t byte)
{
    insitu_net *const net = port->net;
    rate_bits rate;
    uint32_t words[3];
    rate.real = net->clock.rate;
    words[0] = net->clock.t;
    words[1] = net->clock.seed;
    words[2] = rate.bits;
    if (i < 12u) {
        const uint32_t by = 8u * (i & 3u);
        if (write) {
            words[i >> 2] = (words[i >> 2] & ~(0xffu << by)) | (uint32_t)byte << by;
            net->clock.t = words[0];
            net->clock.seed = words[1];
            rate.bits = words[2];
            net->clock.rate = rate.real;
        }
        return (uint8_t)(words[i >> 2] >> by);
    }
    if (i < 12u + INSITU_UPDATES) {
        if (write) {
            net->shift[i - 12u] = (int8_t)byte;
        }
        return (uint8_t)net->shift[i - 12u];
    }
    if (write) {
        net->state[i - 12u - INSITU_UPDATES] = byte;
    }
    return net->state[i - 12u - INSITU_UPDATES];
}

static int32_t read_image(insitu_device *port, uint32_t offset, uint32_t count)
{
    if (count > INSITU_DEVICE_CHUNK || offset > INSITU_DEVICE_IMAGE || count > INSITU_DEVICE_IMAGE - offset) {
        return BAD_REQUEST;
    }
    for (uint32_t i = 0; i < count; i++) {
        port->reply[port->size++] = image(port, offset + i, 0, 0);
    }
    return INSITU_OK;
}

static int32_t write_image(insitu_device *port, uint32_t offset, const uint8_t *data, uint32_t count)
{
    if (count > INSITU_DEVICE_CHUNK || offset > INSITU_DEVICE_IMAGE || count > INSITU_DEVICE_IMAGE - offset) {
        return BAD_REQUEST;
    }
    port->loading = 1;
    for (uint32_t i = 0; i < count; i++) {
        (void)image(port, offset + i, 1, data[i]);
    }
    return INSITU_OK;
}

/* A state that was written whole counts from here on. */
static int32_t commit(insitu_device *port, uint32_t crc)
{
    uint32_t found = 0;
    for (uint32_t i = 0; i < INSITU_DEVICE_IMAGE; i++) {
        const uint8_t byte = image(port, i, 0, 0);
        found = insitu_crc(found, &byte, 1u);
    }
    port->loading = found != crc;
    return found == crc ? INSITU_OK : BAD_IMAGE;
}

/* --- requests ------------------------------------------------------------------------------------------------------ */

static void hello(insitu_device *port)
{
    add(port, INSITU_DEVICE_VERSION);
    add(port, INSITU_PROGRAM);
    add(port, INSITU_SAMPLE_BYTES);
    add(port, INSITU_BATCH_BYTES);
    add(port, INSITU_LABEL_BYTES);
    add(port, INSITU_UPDATES);
    add(port, INSITU_STATE_BYTES);
    add(port, INSITU_DEVICE_CHUNK);
    add(port, port->net->clock.t);
}

static int32_t compute(insitu_device *port, uint32_t kind, const uint8_t *content)
{
    const uint32_t start = port->cycles != NULL ? port->cycles(port->where) : 0u;
    int32_t found;
    if (port->loading) {
        return IS_LOADING;
    }
#ifndef INSITU_NO_LEARN
    found = kind == INFER ? insitu_infer(port->net, content)
                          : (int32_t)insitu_learn(port->net, content, content + INSITU_BATCH_BYTES);
#else
    found = kind == INFER ? insitu_infer(port->net, content) : (int32_t)BAD_REQUEST;
#endif
    add(port, port->cycles != NULL ? port->cycles(port->where) - start : 0u);
    add(port, port->net->clock.t);
    return found;
}

/* The status, or the class of a sample. */
static int32_t execute(insitu_device *port, uint32_t kind, const uint8_t *content, uint32_t size)
{
    if (kind == HELLO && size == 0u) {
        hello(port);
        return INSITU_OK;
    }
    if ((kind == INFER && size == INSITU_SAMPLE_BYTES) || (kind == LEARN && size == INSITU_DEVICE_CONTENT)) {
        return compute(port, kind, content);
    }
    if (kind == READ && size == 8u) {
        return read_image(port, word(content), word(content + 4));
    }
    if (kind == WRITE && size >= 4u) {
        return write_image(port, word(content), content + 4, size - 4u);
    }
    return kind == COMMIT && size == 4u ? commit(port, word(content)) : (int32_t)BAD_REQUEST;
}

static void answer(insitu_device *port, uint32_t kind, const uint8_t *content, uint32_t size)
{
    int32_t status;
    port->size = 6; /* room for number, kind and status */
    status = execute(port, kind, content, size);
    port->reply[0] = port->frame[0];
    port->reply[1] = (uint8_t)kind;
    for (uint32_t i = 0; i < 4u; i++) {
        port->reply[2u + i] = (uint8_t)((uint32_t)status >> (8u * i));
    }
    add(port, insitu_crc(0, port->reply, port->size));
}

int32_t insitu_device_serve(insitu_device *port)
{
    const int32_t size = receive(port);
    uint32_t kind, number;
    if (size < 6) {
        return size < 0 ? -1 : 0;
    }
    if (insitu_crc(0, port->frame, (uint32_t)size - 4u) != word(port->frame + size - 4)) {
        return 0;
    }
    number = port->frame[0];
    kind = port->frame[1];
    if (kind != HELLO && port->ready && number == (uint32_t)port->last) {
        send(port); /* asked again: the reply was lost */
        return 0;
    }
    if (kind != HELLO && (!port->ready || number != (((uint32_t)port->last + 1u) & 0xffu))) {
        return 0; /* an echo of an older request, or no hello yet: the host begins anew */
    }
    answer(port, kind, port->frame + 2, (uint32_t)size - 6u);
    port->ready = 1;
    port->last = (int32_t)number;
    send(port);
    return 0;
}
