/* SPDX-License-Identifier: Apache-2.0 */
/* An error times a feedback matrix that is made again instead of kept. */
#include "internal.h"

#define SAMPLES 4u /* served by one element of the matrix */

void insitu_random_project(const insitu_array *d, const insitu_array *e, const insitu_dense *n, uint32_t stream,
                           int32_t reach, const insitu_clock *clock)
{
    uint32_t key = insitu_key(clock->seed, stream, 0), salt = insitu_salt(key), b, o, i, j, some;
    int64_t sums[SAMPLES];

    for (b = 0; b < n->batch; b += some) {
        some = n->batch - b < SAMPLES ? n->batch - b : SAMPLES;
        for (i = 0; i < n->inputs; i++) {
            for (j = 0; j < SAMPLES; j++)
                sums[j] = 0;
            for (o = 0; o < n->outputs; o++) {
                int32_t m = 0; /* no element of a binary matrix; of others, made again */

                for (j = 0; j < some; j++) {
                    int32_t error = insitu_get(d, (b + j) * n->outputs + o);

                    if (error != 0) {
                        if (m == 0)
                            m = insitu_feedback(insitu_mix(insitu_mix(o * n->inputs + i + key) ^ salt), reach);
                        sums[j] += (int64_t)error * m;
                    }
                }
            }
            for (j = 0; j < some; j++)
                insitu_set(e, (b + j) * n->inputs + i, insitu_saturate(sums[j], INT32_MIN, INT32_MAX));
        }
    }
}
