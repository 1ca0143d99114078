/* SPDX-License-Identifier: Apache-2.0 */
/* Convolutions on a host whose channels are a group each, at stride 1.
 *
 * A plane lies in a frame of zeros, as words of 16 bits, one row after the other: an element of the kernel is an offset, and
 * rows need no loop of their own. What is computed beside the plane is left out at the end. */
#include "conv.h"

#if defined(INSITU_HOST)

#include <string.h>

#include "matrix.h"

#define TAPS 64u /* elements of a kernel at most */

typedef struct {
    const insitu_conv *n;
    insitu_room *room;
    uint32_t taps, width, height; /* of the frame */
    uint32_t offset[TAPS + 1u];
    int16_t factor[TAPS + 1u];
} insitu_taps;

/* Is it for us? `width` and `height`: of the frame. */
static int taps_of(insitu_taps *t, const insitu_conv *n, uint32_t height, uint32_t width)
{
    uint32_t i;

    t->n = n;
    t->room = insitu_host_room();
    t->taps = n->r * n->s;
    t->height = height;
    t->width = width;
    if (n->c != n->groups || n->k != n->groups || n->stride[0] != 1u || n->stride[1] != 1u || t->taps > TAPS || n->h * n->w > INSITU_LONG ||
        (uint64_t)height * width > INSITU_PLANE || n->p * n->q > INSITU_LONG)
        return 0;
    for (i = 0; i < t->taps; i++)
        t->offset[i] = i / n->s * n->dilation[0] * width + i % n->s * n->dilation[1];
    t->offset[i] = 0;
    t->factor[i] = 0; /* of a pair */
    for (i = 0; i < 2u; i++)
        memset(t->room->frame[i], 0, (height * width + INSITU_SLACK) * sizeof t->room->frame[0][0]);
    return 1;
}

/* The same array as bytes: planes of narrow words begin anywhere. A thread's room holds it until the next one. */
static insitu_array widened(const insitu_array *a, insitu_room *room)
{
    insitu_array bytes = *a;

    if (a->bits < 8u && a->size <= INSITU_PLANES) {
        bytes.data = room->bytes;
        bytes.bits = 8;
        bytes.form = a->form == INSITU_UNSIGNED ? INSITU_UNSIGNED : INSITU_SIGNED;
        (void)insitu_host_bytes(a, room);
    }
    return bytes;
}

/* Elements of a plane of h by w, from row `top` and column `left` of a frame on. */
static void fill(const insitu_taps *t, const insitu_array *a, uint32_t first, uint32_t h, uint32_t w, uint32_t top, uint32_t left,
                 int16_t *frame)
{
    static const int16_t some[16] = {-1, -1, -1, -1, -1, -1, -1, -1};
    const __m128i *mask = (const __m128i *)(const void *)(some + (w % 8u == 0u ? 0u : 8u - w % 8u));
    const __m128i last = _mm_loadu_si128(mask); /* words of a row's last eight */
    const int16_t *from = t->room->words;
    uint32_t y, x;

    insitu_host_words(a, first, h * w, t->room->words);
    frame += top * t->width + left;
    for (y = 0; y < h; y++, frame += t->width, from += w)
        for (x = 0; x < w; x += 8u) { /* the next row covers the zeros beyond */
            const __m128i words = _mm_loadu_si128((const __m128i *)(const void *)(from + x));

            _mm_storeu_si128((__m128i *)(void *)(frame + x), x + 8u < w ? words : _mm_and_si128(words, last));
        }
}

INSITU_INLINE __m256i load_words(const int16_t *p)
{
    return _mm256_loadu_si256((const __m256i *)(const void *)p);
}

/* Sixteen sums of products from element i on, two elements of the kernel at a time. */
INSITU_INLINE void correlate_16(const insitu_taps *t, const int16_t *from, int32_t *to)
{
    __m256i even = _mm256_setzero_si256(), odd = even;
    uint32_t i;

    for (i = 0; i < t->taps; i += 2u) {
        const __m256i a = load_words(from + t->offset[i]), b = load_words(from + t->offset[i + 1u]);
        const __m256i factors = _mm256_set1_epi32((uint16_t)t->factor[i] | t->factor[i + 1u] * 65536);

        even = _mm256_add_epi32(even, _mm256_madd_epi16(_mm256_unpacklo_epi16(a, b), factors));
        odd = _mm256_add_epi32(odd, _mm256_madd_epi16(_mm256_unpackhi_epi16(a, b), factors));
    }
    _mm256_storeu_si256((__m256i *)(void *)to, _mm256_permute2x128_si256(even, odd, 0x20));
    _mm256_storeu_si256((__m256i *)(void *)(to + 8), _mm256_permute2x128_si256(even, odd, 0x31));
}

/* Sums of the windows of a plane of `rows` by `columns` outputs, side by side. */
static void correlate(const insitu_taps *t, uint32_t rows, uint32_t columns, int32_t *to)
{
    const uint32_t count = (rows - 1u) * t->width + columns;
    const int32_t *from = t->room->plane;
    uint32_t i, y, x;

    for (i = 0; i < count; i += 16u)
        correlate_16(t, t->room->frame[0] + i, t->room->plane + i);
    for (y = 0; y < rows; y++, from += t->width, to += columns) /* the next row covers what is too much */
        for (x = 0; x < columns; x += INSITU_LANES)
            store_lanes(to + x, load_lanes(from + x));
}

/* The kernel of a channel; turned for the error. */
static void take_kernel(insitu_taps *t, const insitu_array *w, const insitu_read *read, uint32_t channel, int turned)
{
    int8_t kernel[TAPS];
    uint32_t i;

    insitu_host_row(w, channel * t->taps, t->taps, read, kernel);
    for (i = 0; i < t->taps; i++)
        t->factor[i] = kernel[turned ? t->taps - 1u - i : i];
}

int insitu_host_depthwise(const insitu_array *x, const insitu_array *w, const insitu_array *bias, const insitu_array *z,
                          const insitu_conv *n, const insitu_read *read, const insitu_read *read_bias, int8_t bias_shift,
                          const insitu_fit *end, const insitu_clock *clock)
{
    const uint32_t plane = n->p * n->q;
    insitu_taps t;
    uint32_t i;

    if (!taps_of(&t, n, n->h + 2u * n->padding[0], n->w + 2u * n->padding[1]))
        return 0;
    for (i = 0; i < n->batch * n->c; i++) {
        const int64_t more = insitu_bias(bias, i % n->c, read_bias, bias_shift);

        fill(&t, x, i * n->h * n->w, n->h, n->w, n->padding[0], n->padding[1], t.room->frame[0]);
        take_kernel(&t, w, read, i % n->c, 0);
        correlate(&t, n->p, n->q, t.room->packed);
        insitu_finish_many(z, i * plane, t.room->packed, plane, more, insitu_small(more), end, clock);
    }
    return 1;
}

/* The windows of the errors are those of the turned kernel. */
int insitu_host_depthwise_dx(const insitu_array *d, const insitu_array *w, const insitu_array *e, const insitu_conv *n,
                             const insitu_read *read, const insitu_fit *end, const insitu_clock *clock)
{
    const uint32_t down = (n->r - 1u) * n->dilation[0], right = (n->s - 1u) * n->dilation[1], plane = n->h * n->w;
    insitu_taps t;
    uint32_t i, held = 0; /* sums that wait */

    if (n->padding[0] > down || n->padding[1] > right || !taps_of(&t, n, n->h + down, n->w + right))
        return 0;
    for (i = 0; i < n->batch * n->c; i++) {
        fill(&t, d, i * n->p * n->q, n->p, n->q, down - n->padding[0], right - n->padding[1], t.room->frame[0]);
        take_kernel(&t, w, read, i % n->c, 1);
        correlate(&t, n->h, n->w, t.room->packed + held);
        held += plane;
        if (i + 1u < n->batch * n->c && insitu_held(held, plane))
            continue;
        insitu_finish_many(e, (i + 1u) * plane - held, t.room->packed, held, 0, insitu_fits(d, t.taps, 30), end, clock);
        held = 0;
    }
    return 1;
}

INSITU_INLINE int32_t sum_of(__m256i v)
{
    __m128i s = _mm_add_epi32(_mm256_castsi256_si128(v), _mm256_extracti128_si256(v, 1));

    s = _mm_add_epi32(s, _mm_shuffle_epi32(s, 0x4E));
    return _mm_cvtsi128_si32(_mm_add_epi32(s, _mm_shuffle_epi32(s, 0xB1)));
}

/* Sums of a frame of errors times the shifted frame of inputs. */
static void gradient(const insitu_taps *t, int32_t *sums)
{
    const uint32_t count = (t->n->p - 1u) * t->width + t->n->q;
    const int16_t *x = t->room->frame[0], *d = t->room->frame[1];
    uint32_t tap, i;

    for (tap = 0; tap < t->taps; tap += 2u) {
        const int16_t *one = x + t->offset[tap], *other = x + t->offset[tap + 1u];
        __m256i a = _mm256_setzero_si256(), b = a;

        for (i = 0; i < count; i += 16u) {
            a = _mm256_add_epi32(a, _mm256_madd_epi16(load_words(d + i), load_words(one + i)));
            b = _mm256_add_epi32(b, _mm256_madd_epi16(load_words(d + i), load_words(other + i)));
        }
        sums[tap] = sum_of(a);
        sums[tap + 1u] = sum_of(b); /* one too many has room */
    }
}

int insitu_host_depthwise_dw(const insitu_array *d, const insitu_array *x, const insitu_array *g, insitu_mover *m,
                             const insitu_conv *n, const insitu_fit *end, const insitu_clock *clock)
{
    const uint32_t first = m == NULL ? 0u : m->first, stop = m == NULL ? n->k : m->stop;
    const insitu_array bytes = widened(x, insitu_host_room());
    int32_t sums[TAPS + 1u];
    insitu_taps t;
    uint32_t k;

    if (!taps_of(&t, n, n->h + 2u * n->padding[0], n->w + 2u * n->padding[1]))
        return 0;
    if (m != NULL)
        insitu_move_columns(m, 0, t.taps);
    for (k = first; k < stop; k++) {
        fill(&t, &bytes, k * n->h * n->w, n->h, n->w, n->padding[0], n->padding[1], t.room->frame[0]);
        fill(&t, d, k * n->p * n->q, n->p, n->q, 0, 0, t.room->frame[1]);
        gradient(&t, sums);
        if (m == NULL) {
            insitu_finish_many(g, k * t.taps, sums, t.taps, 0, insitu_fits(d, n->p * n->q, 29), end, clock);
            continue;
        }
        insitu_move_row(m, k);
        insitu_move_sums(m, k, sums, t.taps);
    }
    return 1;
}

#endif
