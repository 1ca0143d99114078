/* SPDX-License-Identifier: Apache-2.0 */
/* Elements of packed arrays. */
#define INSITU_WORDS /* the functions themselves */
#include "internal.h"

int32_t insitu_get(const insitu_array *a, uint32_t i)
{
    return insitu_element(a, i);
}

void insitu_set(const insitu_array *a, uint32_t i, int32_t value)
{
    insitu_set_element(a, i, value);
}

float insitu_get_real(const insitu_array *a, uint32_t i)
{
    union {
        uint32_t bits;
        float real;
    } u;

    u.bits = insitu_pattern(a, i);
    return u.real;
}

void insitu_set_real(const insitu_array *a, uint32_t i, float value)
{
    union {
        uint32_t bits;
        float real;
    } u;

    u.real = value;
    insitu_put(a, i, u.bits);
}

#if defined(INSITU_AVX2)

#include "words_avx2.h"
#if defined(INSITU_VNNI)
#include "words_avx512.h"
#endif

void insitu_get_many(const insitu_array *a, uint32_t first, uint32_t count, int32_t *to)
{
    const uint8_t *data = a->data;
    uint32_t i;

    if (a->bits == 8u && a->form == INSITU_SIGNED)
        for (i = 0; i < count; i++)
            to[i] = (int8_t)data[first + i];
    else if (a->bits == 8u && a->form == INSITU_UNSIGNED)
        for (i = 0; i < count; i++)
            to[i] = data[first + i];
    else if (a->bits == 16u && a->form == INSITU_SIGNED)
        for (i = 0; i < count; i++)
            to[i] = (int16_t)insitu_load16(data + 2u * (size_t)(first + i));
    else {
        for (i = 0; i < count && ((first + i) & 7u) != 0u; i++)
            to[i] = insitu_element(a, first + i);
        data += (size_t)((first + i) >> 3) * a->bits;
#if defined(INSITU_VNNI)
        if (a->bits < 26u && a->form == INSITU_SIGNED)
            i += unpack_8words(data, a->bits, count - i, to + i);
        else
#endif
        if (a->bits < 26u && a->form <= INSITU_SIGNED)
            i += unpack_words(data, a->data + ((size_t)a->size * a->bits + 7u) / 8u, a->bits, a->form == INSITU_SIGNED, count - i,
                              to + i);
        for (; i < count; i++)
            to[i] = insitu_element(a, first + i);
    }
}

void insitu_set_many(const insitu_array *a, uint32_t first, uint32_t count, const int32_t *from)
{
    uint32_t bits = a->bits, got = 0, i = 0;
    uint64_t mask = ((uint64_t)1 << bits) - 1u, word = 0;
    uint8_t *p = a->data;

    if (bits == 16u) {
        for (; i < count; i++)
            insitu_store16(p + 2u * (size_t)(first + i), (uint16_t)from[i]);
        return;
    }
    if (bits == 8u) {
        for (; i < count; i++)
            p[first + i] = (uint8_t)from[i];
        return;
    }
    if (a->form <= INSITU_SIGNED) { /* eight words are `bits` bytes */
        uint32_t done;

        for (; i < count && ((first + i) & 7u) != 0u; i++)
            insitu_set_element(a, first + i, from[i]);
        p += (size_t)((first + i) >> 3) * bits;
        if (bits > 15u && bits < 26u)
            done = pack_wide_words(from + i, bits, count - i, p);
        else
            done = bits < 16u ? pack_words(from + i, bits, count - i, p) : 0u;
        p += (size_t)(done >> 3) * bits;
        i += done;
        for (done = i + ((count - i) & ~7u); i < done; i++) {
            word |= ((uint64_t)(uint32_t)from[i] & mask) << got;
            for (got += bits; got >= 8u; got -= 8u, word >>= 8)
                *p++ = (uint8_t)word;
        }
    }
    for (; i < count; i++)
        insitu_set_element(a, first + i, from[i]);
}

#endif
