/* SPDX-License-Identifier: Apache-2.0 */
/* Weights of fewer than 8 bits, unpacked to signed bytes a block at a time. */
#include "internal.h"

#if defined(INSITU_NARROW)

/* Eight words, which are `bits` bytes. */
static void eight(const uint8_t *p, uint32_t bits, uint8_t is_signed, int8_t *to)
{
    uint32_t mask = ((uint32_t)1 << bits) - 1u, half = is_signed ? (uint32_t)1 << (bits - 1u) : 0u, word = 0, got = 0, i;

    for (i = 0; i < 8u; i++) {
        if (got < bits) {
            word |= (uint32_t)*p++ << got;
            got += 8u;
        }
        to[i] = (int8_t)((int32_t)((word & mask) ^ half) - (int32_t)half);
        word >>= bits;
        got -= bits;
    }
}

static void nibbles(const uint8_t *p, uint32_t count, int8_t *to)
{
    uint32_t i;

    for (i = 0; i < count; i++) {
        to[2u * i] = (int8_t)((int32_t)((p[i] & 15u) ^ 8u) - 8);
        to[2u * i + 1u] = (int8_t)((int32_t)((uint32_t)(p[i] >> 4) ^ 8u) - 8);
    }
}

static void quarters(const uint8_t *p, uint32_t count, int8_t *to)
{
    uint32_t i;

    for (i = 0; i < count; i++) {
        to[4u * i] = (int8_t)((int32_t)((p[i] & 3u) ^ 2u) - 2);
        to[4u * i + 1u] = (int8_t)((int32_t)(((uint32_t)p[i] >> 2 & 3u) ^ 2u) - 2);
        to[4u * i + 2u] = (int8_t)((int32_t)(((uint32_t)p[i] >> 4 & 3u) ^ 2u) - 2);
        to[4u * i + 3u] = (int8_t)((int32_t)((uint32_t)(p[i] >> 6) ^ 2u) - 2);
    }
}

void insitu_unpack(const insitu_array *w, uint32_t start, uint32_t count, const insitu_read *read, int8_t *to)
{
    uint32_t i = 0, bits = w->bits;

    if (bits < 8u && w->form != INSITU_BINARY) {
        for (; i < count && ((start + i) & 7u) != 0u; i++)
            to[i] = (int8_t)insitu_get(w, start + i);
        if (bits == 4u && w->form == INSITU_SIGNED) {
            nibbles(w->data + (start + i) / 2u, (count - i) / 2u, to + i);
            i += (count - i) & ~1u;
        } else if (bits == 2u && w->form == INSITU_SIGNED) {
            quarters(w->data + (start + i) / 4u, (count - i) / 4u, to + i);
            i += (count - i) & ~3u;
        } else
            for (; i + 8u <= count; i += 8u)
                eight(w->data + ((start + i) >> 3) * bits, bits, w->form == INSITU_SIGNED, to + i);
    }
    if (insitu_bytes(w))
        for (; i < count; i++)
            to[i] = (int8_t)insitu_byte(w->data, start + i, w->form == INSITU_SIGNED);
    for (; i < count; i++)
        to[i] = (int8_t)insitu_get(w, start + i);
    if (read != NULL && read->how == INSITU_HIGH_BITS) {
        uint32_t shift = (uint32_t)read->shift;
        int32_t half = (int32_t)((uint32_t)1 << shift >> 1), low = read->low, high = read->high;

        if (read->binary)
            for (i = 0; i < count; i++)
                to[i] = (int8_t)(to[i] >= 0 ? 1 : -1);
        else
            for (i = 0; i < count; i++)
                to[i] = (int8_t)insitu_clip(insitu_asr(to[i] + half, shift), low, high);
    }
}

void insitu_dot_narrow(const uint8_t *x, uint8_t x_signed, const insitu_array *w, uint32_t first, uint32_t pitch,
                       uint32_t rows, uint32_t n, const insitu_read *read, int32_t out[4])
{
    int8_t block[4u * INSITU_BLOCK];
    int32_t part[4];
    uint32_t start, count, j;

    for (j = 0; j < 4u; j++)
        out[j] = 0;
    for (start = 0; start < n; start += count) {
        count = n - start < INSITU_BLOCK ? n - start : INSITU_BLOCK;
        for (j = 0; j < rows; j++)
            insitu_unpack(w, first + j * pitch + start, count, read, block + j * INSITU_BLOCK);
        if (rows == 4u)
            insitu_dot8_4rows(x + start, (const uint8_t *)block, INSITU_BLOCK, count, x_signed, part);
        else
            for (j = 0; j < rows; j++)
                part[j] = insitu_dot8(x + start, (const uint8_t *)block + j * INSITU_BLOCK, count, x_signed);
        for (j = 0; j < rows; j++)
            out[j] += part[j];
    }
}

#endif
