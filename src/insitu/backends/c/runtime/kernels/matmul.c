/* SPDX-License-Identifier: Apache-2.0 */
/* The forward pass of a dense layer. */
#include "internal.h"

void insitu_matmul(const insitu_array *x, const insitu_array *w, const insitu_array *bias, const insitu_array *z,
                   const insitu_dense *n, const insitu_read *read, const insitu_read *read_bias, int8_t bias_shift,
                   const insitu_fit *end, const insitu_clock *clock)
{
    uint32_t b, o = 0, i, j, to, size = n->inputs;
    uint8_t is_signed = x->form == INSITU_SIGNED;
    int fast = insitu_bytes(x) && insitu_plain(w, read) && size <= INSITU_DOT;
    int32_t four[4];
    int64_t more[4], sum;
#if !defined(INSITU_SMALL)
    int quick = insitu_quick(size, z, end);
#endif
#if defined(INSITU_NARROW)
    uint32_t rows;

    if (!fast && insitu_bytes(x) && insitu_narrow(w, read) && size <= INSITU_DOT)
        for (; o < n->outputs; o += rows) {
            rows = n->outputs - o < 4u ? n->outputs - o : 4u;
            for (j = 0; j < rows; j++)
                more[j] = insitu_bias(bias, o + j, read_bias, bias_shift);
            for (b = 0; b < n->batch; b++) {
                insitu_dot_narrow(x->data + b * size, is_signed, w, o * size, size, rows, size, read, four);
                for (j = 0; j < rows; j++)
                    insitu_finish(z, b * n->outputs + o + j, four[j] + more[j], end, clock);
            }
        }
#endif

    for (; fast && o + 4u <= n->outputs; o += 4u) {
        for (j = 0; j < 4u; j++)
            more[j] = insitu_bias(bias, o + j, read_bias, bias_shift);
        for (b = 0; b < n->batch; b++) {
            insitu_dot8_4rows(x->data + b * size, w->data + o * size, size, size, is_signed, four);
            to = b * n->outputs + o;
#if !defined(INSITU_SMALL)
            if (quick && insitu_small(more[0]) && insitu_small(more[1]) && insitu_small(more[2]) && insitu_small(more[3])) {
                insitu_finish_4(z->data + to, 1, four, more, end);
                continue;
            }
#endif
            for (j = 0; j < 4u; j++)
                insitu_finish(z, to + j, four[j] + more[j], end, clock);
        }
    }
    for (; o < n->outputs; o++) {
        more[0] = insitu_bias(bias, o, read_bias, bias_shift);
        for (b = 0; b < n->batch; b++) {
            sum = more[0];
            if (fast)
                sum += insitu_dot8(x->data + b * size, w->data + o * size, size, is_signed);
            else
                for (i = 0; i < size; i++)
                    sum += (int64_t)insitu_get(x, b * size + i) * insitu_weight(w, o * size + i, o, read);
            insitu_finish(z, b * n->outputs + o, sum, end, clock);
        }
    }
}
