/* SPDX-License-Identifier: Apache-2.0 */
/* The error of a convolution's input. */
#include "internal.h"

#if defined(INSITU_HOST)
#include "conv.h"
#endif

static uint32_t up(uint32_t n, uint32_t by)
{
    return by == 1u ? n : (n + by - 1u) / by;
}

/* sums += four kernels' weights times errors, a row of `count` outputs */
static void add_four(int32_t *sums, uint32_t step, const uint8_t *d, uint32_t plane, const uint8_t *w, uint32_t pitch,
                     uint32_t count)
{
    int32_t w0 = (int8_t)w[0], w1 = (int8_t)w[pitch], w2 = (int8_t)w[2u * pitch], w3 = (int8_t)w[3u * pitch];
    const uint8_t *d1 = d + plane, *d2 = d1 + plane, *d3 = d2 + plane;
    uint32_t i;

    if (step == 1u)
        for (i = 0; i < count; i++)
            sums[i] += w0 * (int8_t)d[i] + w1 * (int8_t)d1[i] + w2 * (int8_t)d2[i] + w3 * (int8_t)d3[i];
    else
        for (i = 0; i < count; i++, sums += step)
            *sums += w0 * (int8_t)d[i] + w1 * (int8_t)d1[i] + w2 * (int8_t)d2[i] + w3 * (int8_t)d3[i];
}

static void add_one(int32_t *sums, uint32_t step, const uint8_t *d, int32_t w, uint32_t count)
{
    uint32_t i;

    for (i = 0; i < count; i++, sums += step)
        *sums += w * (int8_t)d[i];
}

/* Sums of `count` elements from column x of row y of a channel, of bytes. d: the first plane of errors that see the
   channel; w: the weights of the channel in the first kernel. */
static void row_part(const uint8_t *d, const uint8_t *w, const insitu_conv *n, uint32_t y, uint32_t x, uint32_t count,
                     int32_t *sums)
{
    uint32_t outputs = n->k / n->groups, pitch = n->c / n->groups * n->r * n->s, plane = n->p * n->q, r, s, k, i;
    uint32_t step = n->stride[1];

    for (i = 0; i < count; i++)
        sums[i] = 0;
    for (r = 0; r < n->r; r++) {
        uint32_t down = y + n->padding[0] - r * n->dilation[0], p = down / n->stride[0];

        if (y + n->padding[0] < r * n->dilation[0] || p * n->stride[0] != down || p >= n->p)
            continue;
        for (s = 0; s < n->s; s++) {
            uint32_t first = x + n->padding[1], offset = s * n->dilation[1]; /* q stride + offset is a column, padded */
            uint32_t q = first > offset ? up(first - offset, step) : 0u;
            uint32_t stop = first + count > offset ? up(first + count - offset, step) : 0u;
            const uint8_t *errors, *weights = w + r * n->s + s;
            int32_t *to;

            stop = stop < n->q ? stop : n->q;
            if (q >= stop)
                continue;
            errors = d + p * n->q + q;
            to = sums + (q * step + offset - first);
            for (k = 0; k + 4u <= outputs; k += 4u, errors += 4u * plane, weights += 4u * pitch)
                add_four(to, step, errors, plane, weights, pitch, stop - q);
            for (; k < outputs; k++, errors += plane, weights += pitch)
                add_one(to, step, errors, (int8_t)*weights, stop - q);
        }
    }
}

/* One sum of the general form. */
static int64_t element(const insitu_array *d, const insitu_array *w, const insitu_conv *n, const insitu_read *read,
                       uint32_t b, uint32_t c, uint32_t y, uint32_t x)
{
    uint32_t channels = n->c / n->groups, outputs = n->k / n->groups, kernel = n->r * n->s, plane = n->p * n->q;
    uint32_t first = c / channels * outputs, r, s, k; /* first of the output channels that see this one */
    int64_t sum = 0;

    for (r = 0; r < n->r; r++) {
        uint32_t down = y + n->padding[0] - r * n->dilation[0], p = down / n->stride[0];

        if (y + n->padding[0] < r * n->dilation[0] || p * n->stride[0] != down || p >= n->p)
            continue;
        for (s = 0; s < n->s; s++) {
            uint32_t right = x + n->padding[1] - s * n->dilation[1], q = right / n->stride[1];
            uint32_t from = (b * n->k + first) * plane + p * n->q + q;
            uint32_t i = (first * channels + c % channels) * kernel + r * n->s + s;

            if (x + n->padding[1] < s * n->dilation[1] || q * n->stride[1] != right || q >= n->q)
                continue;
            for (k = 0; k < outputs; k++, from += plane, i += channels * kernel) {
                int32_t error = insitu_get(d, from);

                if (error != 0)
                    sum += (int64_t)error * insitu_weight(w, i, first + k, read);
            }
        }
    }
    return sum;
}

void insitu_conv2d_dx(const insitu_array *d, const insitu_array *w, const insitu_array *e, const insitu_conv *n,
                      const insitu_read *read, const insitu_fit *end, const insitu_clock *clock)
{
    uint32_t channels = n->c / n->groups, outputs = n->k / n->groups, kernel = n->r * n->s;
    uint32_t b, c, y, x, i, count, to = 0;
    int fast = insitu_bytes(d) && d->form == INSITU_SIGNED && insitu_plain(w, read) &&
               (uint64_t)outputs * kernel <= INSITU_DOT;
    int32_t sums[INSITU_BLOCK];

#if defined(INSITU_HOST)
    if (insitu_host_conv2d_dx(d, w, e, n, read, end, clock))
        return;
#endif
    for (b = 0; b < n->batch; b++)
        for (c = 0; c < n->c; c++) {
            uint32_t first = c / channels * outputs;

            for (y = 0; y < n->h; y++)
                for (x = 0; x < n->w; x += count) {
                    count = 1;
                    if (!fast) {
                        insitu_finish(e, to++, element(d, w, n, read, b, c, y, x), end, clock);
                        continue;
                    }
                    count = n->w - x < INSITU_BLOCK ? n->w - x : INSITU_BLOCK;
                    row_part(d->data + (b * n->k + first) * n->p * n->q,
                             w->data + (first * channels + c % channels) * kernel, n, y, x, count, sums);
                    for (i = 0; i < count; i++)
                        insitu_finish(e, to++, sums[i], end, clock);
                }
        }
}
