/* SPDX-License-Identifier: Apache-2.0 */
/* Pools of bytes on a host, windows side by side. */
#include "pools.h"

#if defined(INSITU_HOST)

#include <string.h>

#include "gate_avx2.h"
#include "matrix.h"

#define MOST 256u /* outputs of a row */

INSITU_INLINE __m128i load_flipped(const uint8_t *p, uint8_t flip)
{
    return _mm_xor_si128(_mm_loadu_si128((const __m128i *)(const void *)p), _mm_set1_epi8((char)flip));
}

/* The larger of two neighbours, in words of 16 bits, and 1 where it is the second. */
INSITU_INLINE __m128i larger(__m128i bytes, __m128i *second)
{
    const __m128i even = _mm_and_si128(bytes, _mm_set1_epi16(0xFF)), odd = _mm_srli_epi16(bytes, 8);

    *second = _mm_srli_epi16(_mm_cmpgt_epi16(odd, even), 15);
    return _mm_max_epi16(even, odd);
}

/* Eight windows side by side: the largest of each and its place, of equal ones the first. Flipped, signed bytes are in the
   order of unsigned ones. */
INSITU_INLINE void largest_of_8(const uint8_t *above, const uint8_t *below, uint8_t flip, uint32_t width, uint32_t first,
                                uint8_t *best, int32_t *place)
{
    const __m128i columns = _mm_setr_epi16(0, 2, 4, 6, 8, 10, 12, 14);
    __m128i of_high, of_low, take, at;
    const __m128i high = larger(load_flipped(above, flip), &of_high), low = larger(load_flipped(below, flip), &of_low);

    take = _mm_cmpgt_epi16(low, high);
    at = _mm_blendv_epi8(of_high, _mm_add_epi16(of_low, _mm_set1_epi16((int16_t)width)), take);
    at = _mm_add_epi16(at, columns);
    _mm256_storeu_si256((__m256i *)(void *)place, _mm256_add_epi32(_mm256_cvtepu16_epi32(at), _mm256_set1_epi32((int32_t)first)));
    take = _mm_packus_epi16(_mm_max_epi16(high, low), _mm_setzero_si128());
    _mm_storel_epi64((__m128i *)(void *)best, _mm_xor_si128(take, _mm_set1_epi8((char)flip)));
}

/* One row of outputs; place `first` is that of its first element. */
static void largest(const uint8_t *above, const uint8_t *below, uint32_t count, uint8_t flip, uint32_t width, uint32_t first,
                    uint8_t *best, int32_t *place)
{
    uint32_t q;

    for (q = 0; q + 8u <= count; q += 8u)
        largest_of_8(above + 2u * q, below + 2u * q, flip, width, first + 2u * q, best + q, place + q);
    for (; q < count; q++) {
        const uint8_t a = above[2u * q] ^ flip, b = above[2u * q + 1u] ^ flip;
        const uint8_t c = below[2u * q] ^ flip, d = below[2u * q + 1u] ^ flip;
        const uint8_t high = b > a ? b : a, low = d > c ? d : c;

        best[q] = (uint8_t)((low > high ? low : high) ^ flip);
        place[q] = (int32_t)(first + 2u * q + (low > high ? (d > c) + width : (uint32_t)(b > a)));
    }
}

int insitu_host_max_pool(const insitu_array *x, const insitu_array *y, const insitu_array *position, const insitu_conv *n)
{
    int32_t place[MOST];
    uint32_t plane, p;

    if (!insitu_bytes(x) || y->bits != 8u || n->r != 2u || n->s != 2u || n->stride[0] != 2u || n->stride[1] != 2u ||
        n->padding[0] + n->padding[1] != 0u || n->q > MOST || n->w > 4096u || 2u * n->p > n->h || 2u * n->q > n->w)
        return 0;
    for (plane = 0; plane < n->batch * n->c; plane++)
        for (p = 0; p < n->p; p++) {
            const uint8_t *from = x->data + (plane * n->h + 2u * p) * n->w;
            const uint32_t at = (plane * n->p + p) * n->q;

            largest(from, from + n->w, n->q, x->form == INSITU_SIGNED ? 0x80u : 0u, n->w, 2u * p * n->w,
                    y->data + at, place);
            if (position != NULL)
                insitu_set_many(position, at, n->q, place);
        }
    return 1;
}

int insitu_host_max_unpool(const insitu_array *d, const insitu_array *position, const insitu_array *e, uint32_t planes)
{
    const uint32_t inner = d->size / planes, size = e->size / planes;
    uint32_t i, j, count;
    int32_t place[INSITU_BLOCK];

    if (d->bits != 8u || e->bits != 8u)
        return 0;
    memset(e->data, 0, e->size);
    for (i = 0; i < d->size; i += count) {
        uint8_t *to = e->data + i / inner * size;

        count = inner - i % inner < INSITU_BLOCK ? inner - i % inner : INSITU_BLOCK; /* of one plane */
        insitu_get_many(position, i, count, place);
        for (j = 0; j < count; j++)
            to[place[j]] = (uint8_t)(to[place[j]] + d->data[i + j]);
    }
    return 1;
}

/* Sums of the windows of a row of outputs. */
static void sum_row(const uint8_t *x, uint8_t is_signed, const insitu_conv *n, int32_t *columns, int32_t *sums)
{
    const uint32_t width = n->q * n->s;
    uint32_t r, i, q;

    memset(columns, 0, width * sizeof *columns);
    for (r = 0; r < n->r; r++, x += n->w)
        if (is_signed)
            for (i = 0; i < width; i++)
                columns[i] += (int8_t)x[i];
        else
            for (i = 0; i < width; i++)
                columns[i] += x[i];
    for (q = 0; q < n->q; q++)
        for (i = 0, sums[q] = 0; i < n->s; i++)
            sums[q] += *columns++;
}

int insitu_host_sum_pool(const insitu_array *x, const insitu_array *y, const insitu_conv *n, const insitu_fit *end,
                         const insitu_clock *clock)
{
    insitu_room *room = insitu_host_room();
    const uint32_t outputs = n->p * n->q;
    uint32_t plane, p;

    if (!insitu_bytes(x) || n->stride[0] != n->r || n->stride[1] != n->s || n->padding[0] + n->padding[1] != 0u ||
        n->p * n->r > n->h || n->q * n->s > n->w || n->h * n->w > INSITU_PLANE)
        return 0;
    for (plane = 0; plane < n->batch * n->c; plane++) {
        for (p = 0; p < n->p; p++)
            sum_row(x->data + (plane * n->h + p * n->r) * n->w, x->form == INSITU_SIGNED, n, room->plane, room->packed + p * n->q);
        insitu_finish_many(y, plane * outputs, room->packed, outputs, 0, 1, end, clock);
    }
    return 1;
}

/* A plane of errors, each as large as its window. */
static void enlarge(const uint8_t *d, const insitu_conv *n, uint8_t *to)
{
    uint32_t p, q, r;

    memset(to, 0, n->h * n->w);
    for (p = 0; p < n->p; p++) {
        uint8_t *row = to;

        for (q = 0; q < n->q; q++, d++)
            for (r = 0; r < n->s; r++)
                *row++ = *d;
        for (r = 1; r < n->r; r++)
            memcpy(to + r * n->w, to, n->w);
        to += n->r * n->w;
    }
}

int insitu_host_unpool_gate(const insitu_array *d, const insitu_array *y, const insitu_array *e, const insitu_conv *n)
{
    insitu_room *room = insitu_host_room();
    const uint32_t size = n->h * n->w;
    const uint8_t *open;
    uint32_t plane, i;

    if (d->bits != 8u || e->bits != 8u || y->form != INSITU_UNSIGNED || y->bits > 8u || size > INSITU_PLANES || n->p * n->r > n->h ||
        n->q * n->s > n->w)
        return 0;
    open = insitu_host_bytes(y, room);
    if (open == NULL)
        return 0;
    for (plane = 0; plane < n->batch * n->c; plane++, open += size) {
        uint8_t *to = e->data + plane * size;

        enlarge(d->data + plane * n->p * n->q, n, room->planes);
        for (i = gate_bytes(room->planes, open, to, size); i < size; i++)
            to[i] = open[i] != 0u ? room->planes[i] : 0u;
    }
    return 1;
}

#endif
