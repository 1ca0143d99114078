/* SPDX-License-Identifier: Apache-2.0 */
/* An error times a feedback matrix that is made again instead of kept. */
#include "internal.h"

#if defined(INSITU_AVX2)
#define SAMPLES 8u /* served by one element of the matrix */
#else
#define SAMPLES 2u
#endif

void insitu_random_project(const insitu_array *d, const insitu_array *e, const insitu_dense *n, uint32_t stream,
                           int32_t reach, const insitu_clock *clock)
{
    uint32_t key = insitu_key(clock->seed, stream, 0), salt = insitu_salt(key), b, o, i, j, start, some, count, first;
    uint32_t sums[SAMPLES][INSITU_BLOCK]; /* modulo 2^32: what the step proves to fit does */
    int32_t row[INSITU_BLOCK];

    for (b = 0; b < n->batch; b += some) {
        some = n->batch - b < SAMPLES ? n->batch - b : SAMPLES;
        for (start = 0; start < n->inputs; start += count) {
            count = n->inputs - start < INSITU_BLOCK ? n->inputs - start : INSITU_BLOCK;
            for (j = 0; j < some; j++)
                for (i = 0; i < count; i++)
                    sums[j][i] = 0;
            for (o = 0; o < n->outputs; o++) {
                int made = 0;

                for (j = 0; j < some; j++) {
                    uint32_t error = (uint32_t)insitu_get(d, (b + j) * n->outputs + o);

                    if (error == 0u)
                        continue;
                    first = o * n->inputs + start + key;
                    for (i = 0; !made && i < count; i++)
                        row[i] = insitu_feedback_of(insitu_mixed(insitu_mixed(first + i) ^ salt), reach);
                    made = 1;
                    for (i = 0; i < count; i++)
                        sums[j][i] += error * (uint32_t)row[i];
                }
            }
            for (j = 0; j < some; j++)
                for (i = 0; i < count; i++)
                    insitu_set(e, (b + j) * n->inputs + start + i, (int32_t)sums[j][i]);
        }
    }
}
