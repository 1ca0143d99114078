/* SPDX-License-Identifier: Apache-2.0
 *
 * Saving and loading what was learned; a check sum; a copy.
 *
 * A slot: magic, version, program, number of the save, training steps, seed, learning rate (float32), size of shifts and
 * state (8 words of 4 bytes, little-endian), the shifts, the state, and last the CRC-32 of all before. The newer whole slot
 * counts; a save writes the other one. What begins as a slot, but of another version, program or size, is foreign.
 */
#include "insitu_net.h"

#define MAGIC 0x75736e69u
#define VERSION 2u
#define HEAD 32u
#define BODY (INSITU_UPDATES + INSITU_STATE_BYTES)

void insitu_copy_bytes(uint8_t *to, const uint8_t *from, uint32_t size)
{
    for (uint32_t i = 0; i < size; i++) {
        to[i] = from[i];
    }
}

uint32_t insitu_crc(uint32_t crc, const uint8_t *data, uint32_t size)
{
    crc = ~crc;
    for (uint32_t i = 0; i < size; i++) {
        crc ^= data[i];
        for (uint32_t bit = 0; bit < 8; bit++) {
            crc = (crc >> 1) ^ (0xedb88320u & (0u - (crc & 1u)));
        }
    }
    return ~crc;
}

static uint32_t word(const uint8_t *p)
{
    return (uint32_t)p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
}

static void put(uint8_t *p, uint32_t n)
{
    for (uint32_t i = 0; i < 4; i++) {
        p[i] = (uint8_t)(n >> (8u * i));
    }
}

enum { PROGRAM = 8, NUMBER = 12, STEP = 16, SEED = 20, RATE = 24, SIZE = 28 };

typedef union {
    float real;
    uint32_t bits;
} rate_bits;

/* INSITU_OK: whole and of this program. */
static insitu_status slot_status(const uint8_t *slot)
{
    if (word(slot) != MAGIC) {
        return INSITU_NO_STATE;
    }
    if (word(slot + 4) != VERSION || word(slot + PROGRAM) != INSITU_PROGRAM || word(slot + SIZE) != BODY) {
        return INSITU_FOREIGN_STATE;
    }
    return insitu_crc(0, slot, HEAD + BODY) == word(slot + HEAD + BODY) ? INSITU_OK : INSITU_NO_STATE;
}

/* The slot that counts: 0 or 1; 2 if there is none. */
static uint32_t newest(const uint8_t *slots)
{
    const int first = slot_status(slots) == INSITU_OK, second = slot_status(slots + INSITU_SLOT_BYTES) == INSITU_OK;
    if (first && second) {
        const uint32_t ahead = word(slots + INSITU_SLOT_BYTES + NUMBER) - word(slots + NUMBER);
        return ahead != 0u && ahead < 0x80000000u ? 1u : 0u;
    }
    return first ? 0u : second ? 1u : 2u;
}

static insitu_status initialised(const insitu_net *net, const uint8_t *slots)
{
    if (net == NULL || slots == NULL) {
        return INSITU_NO_ARGUMENT;
    }
    return net->program == INSITU_PROGRAM && net->state != NULL ? INSITU_OK : INSITU_NOT_INITIALISED;
}

insitu_status insitu_state_save(const insitu_net *net, const uint8_t *slots, insitu_write write, void *where)
{
    const insitu_status status = write == NULL ? INSITU_NO_ARGUMENT : initialised(net, slots);
    uint32_t last, number, at, crc;
    const uint8_t *shift;
    uint8_t head[HEAD], tail[4];
    rate_bits rate;
    if (status != INSITU_OK) {
        return status;
    }
    last = newest(slots);
    number = last == 2u ? 1u : word(slots + last * INSITU_SLOT_BYTES + NUMBER) + 1u;
    at = last == 0u ? INSITU_SLOT_BYTES : 0u;
    shift = (const uint8_t *)net->shift;
    rate.real = net->clock.rate;
    put(head, MAGIC);
    put(head + 4, VERSION);
    put(head + PROGRAM, INSITU_PROGRAM);
    put(head + NUMBER, number);
    put(head + STEP, net->clock.t);
    put(head + SEED, net->clock.seed);
    put(head + RATE, rate.bits);
    put(head + SIZE, BODY);
    crc = insitu_crc(insitu_crc(insitu_crc(0, head, HEAD), shift, INSITU_UPDATES), net->state, INSITU_STATE_BYTES);
    put(tail, crc);
    if (write(where, at, head, HEAD) || write(where, at + HEAD, shift, INSITU_UPDATES) ||
        write(where, at + HEAD + INSITU_UPDATES, net->state, INSITU_STATE_BYTES) ||
        write(where, at + HEAD + BODY, tail, 4u)) {
        return INSITU_WRITE_FAILED;
    }
    return INSITU_OK;
}

insitu_status insitu_state_load(insitu_net *net, const uint8_t *slots)
{
    const insitu_status status = initialised(net, slots);
    const uint8_t *slot;
    uint32_t last;
    rate_bits rate;
    if (status != INSITU_OK) {
        return status;
    }
    last = newest(slots);
    if (last == 2u) {
        const int foreign = slot_status(slots) == INSITU_FOREIGN_STATE || slot_status(slots + INSITU_SLOT_BYTES) == INSITU_FOREIGN_STATE;
        return foreign ? INSITU_FOREIGN_STATE : INSITU_NO_STATE;
    }
    slot = slots + last * INSITU_SLOT_BYTES;
    net->clock.t = word(slot + STEP);
    net->clock.seed = word(slot + SEED);
    rate.bits = word(slot + RATE);
    net->clock.rate = rate.real;
    for (uint32_t i = 0; i < INSITU_UPDATES; i++) {
        net->shift[i] = (int8_t)slot[HEAD + i];
    }
    insitu_copy_bytes(net->state, slot + HEAD + INSITU_UPDATES, INSITU_STATE_BYTES);
    return INSITU_OK;
}
