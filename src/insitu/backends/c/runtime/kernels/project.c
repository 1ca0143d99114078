/* SPDX-License-Identifier: Apache-2.0 */
/* An error times a stored feedback matrix. */
#include "internal.h"

void insitu_project(const insitu_array *d, const insitu_array *m, const insitu_array *e, const insitu_dense *n,
                    const insitu_fit *end, const insitu_clock *clock)
{
    uint32_t b, o, i;

    for (b = 0; b < n->batch; b++)
        for (i = 0; i < n->inputs; i++) {
            int64_t sum = 0;

            for (o = 0; o < n->outputs; o++) {
                int32_t error = insitu_get(d, b * n->outputs + o);

                if (error != 0)
                    sum += (int64_t)error * insitu_get(m, o * n->pitch + i);
            }
            insitu_set(e, b * n->inputs + i, insitu_fitted(sum, end, clock, b * n->inputs + i));
        }
}
