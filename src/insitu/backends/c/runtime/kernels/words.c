/* SPDX-License-Identifier: Apache-2.0 */
/* Elements of packed arrays. */
#include "internal.h"

/* Word i, low bits first; the rest is 0. */
static uint32_t pattern(const insitu_array *a, uint32_t i)
{
    const uint8_t *p;
    uint32_t bits = a->bits, skip, word, got;

    if (bits == 8u)
        return a->data[i];
    if (bits == 16u) {
        p = a->data + (size_t)i * 2u;
        return (uint32_t)p[0] | (uint32_t)p[1] << 8;
    }
    if (bits == 32u) {
        p = a->data + (size_t)i * 4u;
        return (uint32_t)p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
    }
    skip = (i & 7u) * bits; /* eight words are `bits` bytes */
    p = a->data + (size_t)(i >> 3) * bits + (skip >> 3);
    skip &= 7u;
    word = (uint32_t)*p >> skip;
    for (got = 8u - skip; got < bits; got += 8u)
        word |= (uint32_t)*++p << got;
    return word & (((uint32_t)1 << bits) - 1u);
}

static void put(const insitu_array *a, uint32_t i, uint32_t word)
{
    uint8_t *p;
    uint32_t bits = a->bits, skip, mask, done;

    if (bits == 8u) {
        a->data[i] = (uint8_t)word;
        return;
    }
    if (bits == 16u || bits == 32u) {
        p = a->data + (size_t)i * (bits >> 3);
        p[0] = (uint8_t)word;
        p[1] = (uint8_t)(word >> 8);
        if (bits == 32u) {
            p[2] = (uint8_t)(word >> 16);
            p[3] = (uint8_t)(word >> 24);
        }
        return;
    }
    skip = (i & 7u) * bits;
    p = a->data + (size_t)(i >> 3) * bits + (skip >> 3);
    skip &= 7u;
    mask = ((uint32_t)1 << bits) - 1u;
    word &= mask;
    *p = (uint8_t)((*p & ~(mask << skip)) | word << skip);
    for (done = 8u - skip; done < bits; done += 8u) {
        ++p;
        *p = (uint8_t)((*p & ~(mask >> done)) | word >> done);
    }
}

int32_t insitu_get(const insitu_array *a, uint32_t i)
{
    uint32_t word = pattern(a, i), sign;

    if (a->form == INSITU_SIGNED) {
        sign = (uint32_t)1 << (a->bits - 1u);
        return (int32_t)((word ^ sign) - sign);
    }
    return a->form == INSITU_BINARY ? 2 * (int32_t)word - 1 : (int32_t)word;
}

void insitu_set(const insitu_array *a, uint32_t i, int32_t value)
{
    put(a, i, a->form == INSITU_BINARY ? (uint32_t)(value >= 0) : (uint32_t)value);
}

float insitu_get_real(const insitu_array *a, uint32_t i)
{
    union {
        uint32_t bits;
        float real;
    } u;

    u.bits = pattern(a, i);
    return u.real;
}

void insitu_set_real(const insitu_array *a, uint32_t i, float value)
{
    union {
        uint32_t bits;
        float real;
    } u;

    u.real = value;
    put(a, i, u.bits);
}
