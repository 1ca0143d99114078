/* SPDX-License-Identifier: Apache-2.0 */
/* Weights of a dense layer move by a gradient that is never stored. */
#include "internal.h"

#if !defined(INSITU_SMALL)
#include "matmul_dw_update_bytes.h"
#endif
#if defined(INSITU_VNNI)
#include "matmul_dw_update_avx512.h"
#endif

/* The general form: the gradient of a part of a row at a time. */
INSITU_APART void update_by_sums(insitu_mover *m, const insitu_array *d, const insitu_array *x, const insitu_dense *n)
{
    int fast = insitu_bytes(d) && insitu_bytes(x) && n->batch < INSITU_DOT / 4u;
    uint32_t start, count, row, j, b;
    int32_t sums[INSITU_BLOCK];

    for (start = 0; start < n->inputs; start += count) {
        count = insitu_move_count(m, INSITU_BLOCK, n->inputs - start);
        insitu_move_columns(m, start, count);
        for (row = m->first; row < m->stop; row++) {
            insitu_move_row(m, row);
            if (n->batch == 1u && m->move->zero_is_noop && insitu_get(d, row) == 0)
                continue;
            if (fast) {
                insitu_weighted_rows(d->data + row, n->outputs, d->form == INSITU_SIGNED, x->data + start, n->inputs,
                               x->form == INSITU_SIGNED, n->batch, count, sums);
                insitu_move_sums(m, row, sums, count);
                continue;
            }
            for (j = 0; j < count; j++) {
                int64_t g = 0;

                for (b = 0; b < n->batch; b++)
                    g += (int64_t)insitu_get(d, b * n->outputs + row) * insitu_get(x, b * n->inputs + start + j);
                insitu_move_weight(m, row, j, g);
            }
        }
    }
}

void insitu_matmul_dw_update(const insitu_array *d, const insitu_array *x, const insitu_array *e,
                             const insitu_array *w, const insitu_array *state, const insitu_dense *n,
                             const insitu_move *move, const insitu_clock *clock)
{
    insitu_mover m;

    if (insitu_still(d, move))
        return;
    insitu_move_begin(&m, w, e, state, n->outputs, n->inputs, 0, move, clock);
#if !defined(INSITU_SMALL)
    if (fits_bytes(&m, d, x, n)) {
#if defined(INSITU_VNNI)
        if (update_by_groups(&m, d, x, n))
            return;
#endif
        update_by_bytes(&m, d, x, n);
        return;
    }
#endif
    update_by_sums(&m, d, x, n);
    insitu_move_end(&m);
}
