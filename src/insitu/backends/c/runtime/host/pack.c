/* SPDX-License-Identifier: Apache-2.0 */
/* Arrays become packed matrices. */
#include "internal.h"

#if defined(INSITU_HOST)

#include <string.h>

#include "matrix.h"

insitu_room *insitu_host_room(void)
{
    static __thread insitu_room room;

    return &room;
}

/* 32 bits become 32 bytes of 0 and 1. */
INSITU_INLINE __m256i bits_of(uint32_t word)
{
    const __m256i from = _mm256_setr_epi64x(0, 0x0101010101010101, 0x0202020202020202, 0x0303030303030303);
    const __m256i bit = _mm256_set1_epi64x((int64_t)0x8040201008040201u);
    const __m256i bytes = _mm256_shuffle_epi8(_mm256_set1_epi32((int32_t)word), from);

    return _mm256_and_si256(_mm256_cmpeq_epi8(_mm256_and_si256(bytes, bit), bit), _mm256_set1_epi8(1));
}

static void unpack_bits(const uint8_t *from, uint32_t count, uint8_t *to)
{
    uint32_t i, word;

    for (i = 0; i + 32u <= count; i += 32u, from += 4) {
        memcpy(&word, from, 4);
        _mm256_storeu_si256((__m256i *)(void *)(to + i), bits_of(word));
    }
    for (; i < count; i++)
        to[i] = (uint8_t)((uint32_t)from[(i & 31u) >> 3] >> (i & 7u) & 1u);
}

const uint8_t *insitu_host_bytes(const insitu_array *a, insitu_room *room)
{
    if (insitu_bytes(a))
        return a->data;
    if (a->size > INSITU_PLANES)
        return NULL;
    if (a->bits == 1u && a->form == INSITU_UNSIGNED)
        unpack_bits(a->data, a->size, room->bytes);
    else
        insitu_unpack(a, 0, a->size, NULL, (int8_t *)room->bytes);
    return room->bytes;
}

void insitu_host_row(const insitu_array *a, uint32_t first, uint32_t count, const insitu_read *read, void *to)
{
    if (insitu_bytes(a) && (read == NULL || read->how == INSITU_AS_STORED))
        memcpy(to, a->data + first, count);
    else
        insitu_unpack(a, first, count, read, to);
}

void insitu_host_words(const insitu_array *a, uint32_t first, uint32_t count, int16_t *to)
{
    int32_t block[INSITU_BLOCK];
    uint32_t start, some, j;

    if (a->bits == 8u && a->form == INSITU_SIGNED) {
        const int8_t *from = (const int8_t *)a->data + first;

        for (j = 0; j < count; j++)
            to[j] = from[j];
        return;
    }
    for (start = 0; start < count; start += some) {
        some = count - start < INSITU_BLOCK ? count - start : INSITU_BLOCK;
        insitu_get_many(a, first + start, some, block);
        for (j = 0; j < some; j++)
            to[start + j] = (int16_t)block[j];
    }
}

/* `count` bytes, not one more. */
INSITU_INLINE void copy_bytes(uint8_t *to, const uint8_t *from, uint32_t count)
{
    for (; count >= 16u; count -= 16u, to += 16, from += 16)
        memcpy(to, from, 16);
    if (count & 8u) {
        memcpy(to, from, 8);
        to += 8;
        from += 8;
    }
    for (count &= 7u; count > 0u; count--)
        *to++ = *from++;
}

int insitu_host_pad(const uint8_t *x, const insitu_conv *n, uint32_t channels, insitu_room *room, insitu_planes *to)
{
    const uint32_t width = n->w + 2u * n->padding[1], height = n->h + 2u * n->padding[0];
    const uint64_t size = (uint64_t)channels * height * width;
    uint32_t c, y;

    if (size > INSITU_PLANES)
        return 0;
    to->data = room->planes;
    to->plane = height * width;
    to->width = width;
    if (height * width != n->h * n->w)
        memset(room->planes, 0, (size_t)size);
    for (c = 0; c < channels; c++) {
        uint8_t *at = room->planes + c * to->plane + n->padding[0] * width + n->padding[1];

        for (y = 0; y < n->h; y++, at += width, x += n->w)
            copy_bytes(at, x, n->w);
    }
    return 1;
}

/* Rows of `width` bytes; the next row covers what is too much. */
INSITU_INLINE void copy_rows(uint8_t *to, const uint8_t *from, uint32_t pitch, uint32_t count, uint32_t width, uint32_t most)
{
    uint32_t p, q;

    for (p = 0; p < count; p++, from += pitch, to += width)
        for (q = 0; q < most; q += 16u)
            memcpy(to + q, from + q, 16);
}

/* Every second of `count` bytes at least. */
INSITU_INLINE void copy_evens(uint8_t *to, const uint8_t *from, uint32_t count)
{
    const __m128i even = _mm_set1_epi16(0xFF);
    uint32_t q;

    for (q = 0; q < count; q += 16u) {
        const __m128i *p = (const __m128i *)(const void *)(from + 2u * q);
        const __m128i a = _mm_and_si128(_mm_loadu_si128(p), even), b = _mm_and_si128(_mm_loadu_si128(p + 1), even);

        _mm_storeu_si128((__m128i *)(void *)(to + q), _mm_packus_epi16(a, b));
    }
}

void insitu_window_row(const insitu_planes *x, const insitu_conv *n, uint32_t row, uint32_t first, uint32_t stop, uint8_t *to)
{
    const uint32_t kernel = n->r * n->s, at = row % kernel, step = n->stride[1];
    const uint8_t *from = x->data + row / kernel * x->plane + (at / n->s * n->dilation[0] + first * n->stride[0]) * x->width +
                          at % n->s * n->dilation[1];
    const uint32_t count = stop - first, pitch = n->stride[0] * x->width;
    uint32_t p, q;

    if (step == 1u && n->q <= 16u)
        copy_rows(to, from, pitch, count, n->q, 16);
    else if (step == 1u && n->q <= 32u)
        copy_rows(to, from, pitch, count, n->q, 32);
    else if (step == 1u)
        copy_rows(to, from, pitch, count, n->q, n->q);
    else
        for (p = 0; p < count; p++, from += pitch, to += n->q)
            if (step == 2u)
                copy_evens(to, from, n->q);
            else
                for (q = 0; q < n->q; q++)
                    to[q] = from[q * step];
}

/* Bytes of the right matrix, or of the left one. */
INSITU_INLINE void interleave(const uint8_t *const *rows, uint32_t at, uint32_t group, int how, uint32_t *to)
{
#if INSITU_GROUP == 4u
    if (group == 4u) {
        interleave_fours(rows, at, how == INSITU_RIGHT_SIGNED, to);
        return;
    }
#endif
    (void)group;
    interleave_pairs(rows, at, how != INSITU_RIGHT_UNSIGNED, to);
}

void insitu_pack_group(const uint8_t *rows, uint32_t count, uint32_t group, int how, uint32_t *to, size_t tile)
{
    const uint8_t *const from[4] = {rows, rows + INSITU_LONG, rows + 2u * INSITU_LONG, rows + 3u * INSITU_LONG};
    uint32_t j;

    for (j = 0; j < count; j += 16u)
        interleave(from, j, group, how, to + j / INSITU_WIDTH * tile + j % INSITU_WIDTH);
}

void insitu_pack_words(const int16_t *rows, uint32_t count, uint32_t *to, size_t tile)
{
    const int16_t *more = rows + INSITU_LONG;
    uint32_t j, i;

    for (j = 0; j < count; j += INSITU_WIDTH, to += tile)
        for (i = 0; i < INSITU_WIDTH; i++)
            to[i] = (uint16_t)rows[j + i] | (uint32_t)(uint16_t)more[j + i] << 16;
}

/* Groups of eight rows, as many as `transpose` makes. */
INSITU_INLINE void turn(const uint8_t *rows, uint32_t group, int how, __m256i some[8])
{
#if INSITU_GROUP == 4u
    if (group == 4u) {
        transpose_fours(rows, INSITU_LONG, how == INSITU_RIGHT_SIGNED, some);
        return;
    }
#endif
    (void)group;
    transpose_pairs(rows, INSITU_LONG, how != INSITU_RIGHT_UNSIGNED, some);
}

void insitu_pack_columns(const uint8_t *rows, uint32_t groups, uint32_t group, int how, uint32_t *to)
{
    const uint32_t made = 16u / group;
    __m256i some[8];
    uint32_t g, i, count;

    for (g = 0; g < groups; g += count, rows += 16) {
        count = groups - g < made ? groups - g : made;
        turn(rows, group, how, some);
        for (i = 0; i < count; i++, to += INSITU_WIDTH)
            _mm256_storeu_si256((__m256i *)(void *)to, some[i]);
    }
}

void insitu_pack_row(const int8_t *row, uint32_t count, uint32_t group, uint32_t groups, uint32_t *to)
{
    int16_t *words = (int16_t *)(void *)to;
    uint32_t i;

    memset(to, 0, groups * sizeof *to);
    if (group == 4u)
        memcpy(to, row, count);
    else
        for (i = 0; i < count; i++)
            words[i] = row[i];
}

/* The sum of a group of four signed bytes. */
INSITU_INLINE int32_t sum_of_bytes(uint32_t group)
{
    return (int8_t)(uint8_t)group + (int8_t)(uint8_t)(group >> 8) + (int8_t)(uint8_t)(group >> 16) + (int8_t)(uint8_t)(group >> 24);
}

void insitu_starts(const uint32_t *left, size_t row, size_t step, uint32_t rows, uint32_t group, uint32_t groups, int how, int32_t *start)
{
    uint32_t i, g;

    memset(start, 0, rows * sizeof *start);
    if (group == 2u || how != INSITU_RIGHT_SIGNED)
        return;
    for (g = 0; g < groups; g++)
        for (i = 0; i < rows; i++)
            start[i] -= 128 * sum_of_bytes(left[i * row + g * step]);
}

#endif
