/* SPDX-License-Identifier: Apache-2.0
 *
 * Saving and loading what was learned; a check sum; a copy.
 *
 * A slot: magic, version, number of the save, training steps, size (5 words of 4 bytes, little-endian), the shifts, the
 * state, and last the CRC-32 of all before. The newer whole slot counts; a save writes the other one.
 */
#include "insitu_net.h"

#define MAGIC 0x75736e69u
#define VERSION 1u
#define HEAD 20u
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

/* Is a slot whole and of this program? */
static int whole(const uint8_t *slot)
{
    if (word(slot) != MAGIC || word(slot + 4) != VERSION || word(slot + 16) != BODY) {
        return 0;
    }
    return insitu_crc(0, slot, HEAD + BODY) == word(slot + HEAD + BODY);
}

/* The slot that counts: 0 or 1; 2 if there is none. */
static uint32_t newest(const uint8_t *slots)
{
    const int first = whole(slots), second = whole(slots + INSITU_SLOT_BYTES);
    if (first && second) {
        const uint32_t ahead = word(slots + INSITU_SLOT_BYTES + 8) - word(slots + 8);
        return ahead != 0u && ahead < 0x80000000u ? 1u : 0u;
    }
    return first ? 0u : second ? 1u : 2u;
}

int insitu_state_save(const insitu_net *net, const uint8_t *slots, insitu_write write, void *where)
{
    const uint32_t last = newest(slots);
    const uint32_t number = last == 2u ? 1u : word(slots + last * INSITU_SLOT_BYTES + 8) + 1u;
    const uint32_t at = last == 0u ? INSITU_SLOT_BYTES : 0u;
    const uint8_t *const shift = (const uint8_t *)net->shift;
    uint8_t head[HEAD], tail[4];
    uint32_t crc;
    put(head, MAGIC);
    put(head + 4, VERSION);
    put(head + 8, number);
    put(head + 12, net->clock.t);
    put(head + 16, BODY);
    crc = insitu_crc(insitu_crc(insitu_crc(0, head, HEAD), shift, INSITU_UPDATES), net->state, INSITU_STATE_BYTES);
    put(tail, crc);
    if (write(where, at, head, HEAD) || write(where, at + HEAD, shift, INSITU_UPDATES) ||
        write(where, at + HEAD + INSITU_UPDATES, net->state, INSITU_STATE_BYTES) ||
        write(where, at + HEAD + BODY, tail, 4u)) {
        return INSITU_WRITE_FAILED;
    }
    return INSITU_OK;
}

int insitu_state_load(insitu_net *net, const uint8_t *slots)
{
    const uint32_t last = newest(slots);
    const uint8_t *const slot = slots + last * INSITU_SLOT_BYTES;
    if (last == 2u) {
        return INSITU_NO_STATE;
    }
    net->clock.t = word(slot + 12);
    for (uint32_t i = 0; i < INSITU_UPDATES; i++) {
        net->shift[i] = (int8_t)slot[HEAD + i];
    }
    insitu_copy_bytes(net->state, slot + HEAD + INSITU_UPDATES, INSITU_STATE_BYTES);
    return INSITU_OK;
}
