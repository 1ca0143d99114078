/* SPDX-License-Identifier: Apache-2.0 */
/* The forward pass of a convolution. */
#include "internal.h"

#if defined(INSITU_HOST)
#include "conv.h"
#endif

#define MANY 32u /* output channels that share a gathered window */

static inline void copy_four(const uint8_t *from, uint8_t *to)
{
#if defined(INSITU_DSP)
    insitu_store32(to, insitu_load32(from));
#else
    to[0] = from[0];
    to[1] = from[1];
    to[2] = from[2];
    to[3] = from[3];
#endif
}

/* Rows of `count` elements, `skip` apart, side by side; returns the end. */
INSITU_INLINE uint8_t *copy_rows(const uint8_t *row, uint32_t rows, uint32_t skip, uint32_t count, uint8_t *to)
{
    uint32_t s;

    for (; rows > 0u; rows--, row += skip, to += count) {
        for (s = 0; s + 4u <= count; s += 4u)
            copy_four(row + s, to + s);
        if (count & 2u) {
            to[s] = row[s];
            to[s + 1u] = row[s + 1u];
            s += 2u;
        }
        if (count & 1u)
            to[s] = row[s];
    }
    return to;
}

/* The window of the outputs at (p, q); outside of the plane are zeros. */
static void gather(const uint8_t *x, const insitu_conv *n, uint32_t channels, uint32_t p, uint32_t q, uint8_t *to)
{
    uint32_t c, r, s, top = p * n->stride[0] - n->padding[0], left = q * n->stride[1] - n->padding[1];
    uint32_t down = (n->r - 1u) * n->dilation[0], right = (n->s - 1u) * n->dilation[1], plane = n->h * n->w;

    /* what is above or to the left of the plane has wrapped to a large number */
    if (top < n->h && down < n->h - top && left < n->w && right < n->w - left) {
        uint32_t step = n->dilation[1], skip = n->dilation[0] * n->w;

        x += top * n->w + left;
        for (c = 0; c < channels; c++, x += plane)
            if (step == 1u && n->s == 3u) {
                to = copy_rows(x, n->r, skip, 3, to);
            } else if (step == 1u && n->s == 5u) {
                to = copy_rows(x, n->r, skip, 5, to);
            } else if (step == 1u) {
                to = copy_rows(x, n->r, skip, n->s, to);
            } else {
                const uint8_t *row = x;

                for (r = n->r; r > 0u; r--, row += skip)
                    for (s = 0; s < n->s; s++)
                        *to++ = row[s * step];
            }
        return;
    }
    for (c = 0; c < channels; c++, x += plane)
        for (r = 0; r < n->r; r++) {
            uint32_t y = top + r * n->dilation[0], column = left, row = y * n->w;

            for (s = 0; s < n->s; s++, column += n->dilation[1])
                *to++ = y < n->h && column < n->w ? x[row + column] : (uint8_t)0;
        }
}

/* A group's sums of gathered windows; its output channels start at `first`. */
static void by_windows(const uint8_t *x, uint8_t is_signed, const insitu_array *weights, const insitu_array *bias,
                       const insitu_array *z, const insitu_conv *n, uint32_t sample, uint32_t first,
                       const insitu_read *read, const insitu_read *read_bias, int8_t bias_shift, const insitu_fit *end,
                       const insitu_clock *clock, uint8_t *workspace)
{
    uint32_t channels = n->c / n->groups, outputs = n->k / n->groups, size = channels * n->r * n->s;
    uint32_t plane = n->p * n->q, start, count, k, j, p, q, to;
    int64_t more[MANY];
    int32_t four[4];
    int quick; /* the sums fit 32 bits with room */
    const uint8_t *w = weights->data + first * size; /* of bytes */
#if defined(INSITU_NARROW)
    int narrow = !insitu_plain(weights, read);
#else
    (void)read;
#endif

    for (start = 0; start < outputs; start += count) {
        count = outputs - start < MANY ? outputs - start : MANY;
        quick = insitu_quick(size, z, end);
        for (k = 0; k < count; k++) {
            more[k] = insitu_bias(bias, first + start + k, read_bias, bias_shift);
            quick = quick && insitu_small(more[k]);
        }
        for (p = 0; p < n->p; p++)
            for (q = 0; q < n->q; q++) {
                gather(x, n, channels, p, q, workspace);
                to = (sample * n->k + first + start) * plane + p * n->q + q;
                for (k = 0; k + 4u <= count; k += 4u, to += 4u * plane) {
#if defined(INSITU_NARROW)
                    if (narrow)
                        insitu_dot_narrow(workspace, is_signed, weights, (first + start + k) * size, size, 4, size, read, four);
                    else
#endif
                        insitu_dot8_4rows(workspace, w + (start + k) * size, size, size, is_signed, four);
                    if (quick)
                        insitu_finish_4(z->data + to, plane, four, more + k, end);
                    else
                        for (j = 0; j < 4u; j++)
                            insitu_finish(z, to + j * plane, four[j] + more[k + j], end, clock);
                }
                for (; k < count; k++, to += plane) {
#if defined(INSITU_NARROW)
                    if (narrow)
                        insitu_dot_narrow(workspace, is_signed, weights, (first + start + k) * size, size, 1, size, read, four);
                    else
#endif
                        four[0] = insitu_dot8(workspace, w + (start + k) * size, size, is_signed);
                    insitu_finish(z, to, four[0] + more[k], end, clock);
                }
            }
    }
}

/* One sum of the general form. */
static int64_t window(const insitu_array *x, const insitu_array *w, const insitu_conv *n, const insitu_read *read,
                      uint32_t image, uint32_t k, uint32_t p, uint32_t q)
{
    uint32_t c, r, s, channels = n->c / n->groups, i = k * channels * n->r * n->s;
    int64_t sum = 0;

    for (c = 0; c < channels; c++)
        for (r = 0; r < n->r; r++) {
            uint32_t y = p * n->stride[0] + r * n->dilation[0] - n->padding[0];

            if (y >= n->h) {
                i += n->s;
                continue;
            }
            for (s = 0; s < n->s; s++, i++) {
                uint32_t column = q * n->stride[1] + s * n->dilation[1] - n->padding[1];

                if (column < n->w)
                    sum += (int64_t)insitu_get(x, image + (c * n->h + y) * n->w + column) * insitu_weight(w, i, k, read);
            }
        }
    return sum;
}

void insitu_conv2d(const insitu_array *x, const insitu_array *w, const insitu_array *bias, const insitu_array *z,
                   const insitu_conv *n, const insitu_read *read, const insitu_read *read_bias, int8_t bias_shift,
                   const insitu_fit *end, const insitu_clock *clock, uint8_t *workspace)
{
    uint32_t channels = n->c / n->groups, outputs = n->k / n->groups, size = channels * n->r * n->s;
    uint32_t b, g, p, q, k, to;
    int fast;

#if defined(INSITU_HOST)
    if (insitu_host_conv2d(x, w, bias, z, n, read, read_bias, bias_shift, end, clock))
        return;
#endif
    fast = workspace != NULL && insitu_bytes(x) && (insitu_plain(w, read) || insitu_narrow(w, read)) && size <= INSITU_DOT;

    for (b = 0; b < n->batch; b++)
        for (g = 0; g < n->groups; g++) {
            uint32_t image = (b * n->c + g * channels) * n->h * n->w;

            if (fast) {
                by_windows(x->data + image, x->form == INSITU_SIGNED, w, bias, z, n, b, g * outputs, read, read_bias,
                           bias_shift, end, clock, workspace);
                continue;
            }
            for (k = g * outputs; k < (g + 1u) * outputs; k++) {
                int64_t more = insitu_bias(bias, k, read_bias, bias_shift);

                to = (b * n->k + k) * n->p * n->q;
                for (p = 0; p < n->p; p++)
                    for (q = 0; q < n->q; q++, to++)
                        insitu_finish(z, to, window(x, w, n, read, image, k, p, q) + more, end, clock);
            }
        }
}
