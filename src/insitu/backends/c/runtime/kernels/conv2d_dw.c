/* SPDX-License-Identifier: Apache-2.0 */
/* The gradient of a convolution's weights. */
#include "internal.h"

#if defined(INSITU_HOST)
#include "conv.h"
#endif

/* First and one past the last of `count` outputs whose element `offset` of the window is inside of `size`. */
static void inside(uint32_t count, uint32_t stride, uint32_t offset, uint32_t padding, uint32_t size, uint32_t *first,
                   uint32_t *stop)
{
    uint32_t lack = offset < padding ? padding - offset : 0u;

    *first = (lack + stride - 1u) / stride;
    *stop = size + padding > offset ? (size + padding - offset + stride - 1u) / stride : 0u;
    if (*stop > count)
        *stop = count;
}

int64_t insitu_conv_gradient(const insitu_array *d, const insitu_array *x, const insitu_conv *n, uint32_t k, uint32_t c,
                             uint32_t r, uint32_t s)
{
    uint32_t channel = k / (n->k / n->groups) * (n->c / n->groups) + c, b, p, q, p0, p1, q0, q1, left;
    int fast;
    int64_t sum = 0;

    inside(n->p, n->stride[0], r * n->dilation[0], n->padding[0], n->h, &p0, &p1);
    inside(n->q, n->stride[1], s * n->dilation[1], n->padding[1], n->w, &q0, &q1);
    if (q0 >= q1 || p0 >= p1)
        return 0;
    fast = n->stride[1] == 1u && d->form == INSITU_SIGNED && insitu_bytes(d) && insitu_bytes(x) &&
           (uint64_t)n->p * n->q <= INSITU_DOT;
    left = q0 * n->stride[1] + s * n->dilation[1] - n->padding[1];
    for (b = 0; b < n->batch; b++) {
        uint32_t from = ((b * n->c + channel) * n->h + p0 * n->stride[0] + r * n->dilation[0] - n->padding[0]) * n->w + left;
        uint32_t error = ((b * n->k + k) * n->p + p0) * n->q + q0;

        if (fast) {
            sum += insitu_dot8_rows(x->data + from, n->stride[0] * n->w, d->data + error, n->q, p1 - p0, q1 - q0,
                                    x->form == INSITU_SIGNED);
            continue;
        }
        for (p = p0; p < p1; p++, from += n->stride[0] * n->w, error += n->q)
            for (q = 0; q < q1 - q0; q++)
                sum += (int64_t)insitu_get(d, error + q) * insitu_get(x, from + q * n->stride[1]);
    }
    return sum;
}

void insitu_conv2d_dw(const insitu_array *d, const insitu_array *x, const insitu_array *g, const insitu_conv *n,
                      const insitu_fit *end, const insitu_clock *clock)
{
    uint32_t k, c, r, s, to = 0;

#if defined(INSITU_HOST)
    if (insitu_host_conv2d_dw(d, x, g, NULL, n, end, clock))
        return;
#endif
    for (k = 0; k < n->k; k++)
        for (c = 0; c < n->c / n->groups; c++)
            for (r = 0; r < n->r; r++)
                for (s = 0; s < n->s; s++, to++)
                    insitu_set(g, to, insitu_fitted(insitu_conv_gradient(d, x, n, k, c, r, s), end, clock, to));
}
