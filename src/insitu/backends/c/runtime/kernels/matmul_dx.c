/* SPDX-License-Identifier: Apache-2.0 */
/* The error of a dense layer's input, or an error times the first columns of a stored feedback matrix. */
#include "internal.h"

void insitu_matmul_dx(const insitu_array *d, const insitu_array *w, const insitu_array *e, const insitu_dense *n,
                      const insitu_read *read, const insitu_fit *end, const insitu_clock *clock)
{
    uint32_t b, o, i, j, count;
    int fast = insitu_bytes(d) && insitu_plain(w, read) && n->outputs < INSITU_DOT;
    int32_t sums[INSITU_BLOCK];

    for (b = 0; b < n->batch; b++)
        for (i = 0; i < n->inputs; i += count) {
            count = 1;
            if (fast) {
                count = n->inputs - i < INSITU_BLOCK ? n->inputs - i : INSITU_BLOCK;
                insitu_combine(d->data + b * n->outputs, 1, d->form == INSITU_SIGNED, w->data + i, n->pitch, 1,
                               n->outputs, count, sums);
                for (j = 0; j < count; j++)
                    insitu_finish(e, b * n->inputs + i + j, sums[j], end, clock);
            } else {
                int64_t sum = 0;

                for (o = 0; o < n->outputs; o++) {
                    int32_t error = insitu_get(d, b * n->outputs + o);

                    if (error != 0)
                        sum += (int64_t)error * insitu_weight(w, o * n->pitch + i, o, read);
                }
                insitu_finish(e, b * n->inputs + i, sum, end, clock);
            }
        }
}
