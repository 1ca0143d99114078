/* SPDX-License-Identifier: Apache-2.0 */
/* An error times a stored feedback matrix. */
#include "internal.h"

void insitu_project(const insitu_array *d, const insitu_array *m, const insitu_array *e, const insitu_dense *n,
                    const insitu_fit *end, const insitu_clock *clock)
{
    uint32_t b, o, i, j, count;
    int fast = insitu_bytes(d) && insitu_bytes(m) && n->outputs < INSITU_DOT / 4u;
    int32_t sums[INSITU_BLOCK];

    for (b = 0; b < n->batch; b++)
        for (i = 0; i < n->inputs; i += count) {
            count = 1;
            if (fast) {
                count = n->inputs - i < INSITU_BLOCK ? n->inputs - i : INSITU_BLOCK;
                insitu_combine(d->data + b * n->outputs, 1, d->form == INSITU_SIGNED, m->data + i, n->pitch,
                               m->form == INSITU_SIGNED, n->outputs, count, sums);
                for (j = 0; j < count; j++)
                    insitu_finish(e, b * n->inputs + i + j, sums[j], end, clock);
            } else {
                int64_t sum = 0;

                for (o = 0; o < n->outputs; o++) {
                    int32_t error = insitu_get(d, b * n->outputs + o);

                    if (error != 0)
                        sum += (int64_t)error * insitu_get(m, o * n->pitch + i);
                }
                insitu_finish(e, b * n->inputs + i, sum, end, clock);
            }
        }
}
