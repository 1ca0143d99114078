/* SPDX-License-Identifier: Apache-2.0 */
/* The row of a stored matrix that belongs to each label. */
#include "internal.h"

void insitu_select_rows(const insitu_array *m, const insitu_array *label, const insitu_array *out, const insitu_dense *n)
{
    uint32_t b, i;

    for (b = 0; b < n->batch; b++) {
        uint32_t row = (uint32_t)insitu_get(label, b) * n->pitch;

        for (i = 0; i < n->inputs; i++)
            insitu_set(out, b * n->inputs + i, insitu_get(m, row + i));
    }
}
