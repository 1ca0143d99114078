/* SPDX-License-Identifier: Apache-2.0 */
/* Weights of a dense layer move by the errors and inputs of several steps at once. */
#include "internal.h"

void insitu_matmul_dw_deferred(const insitu_array *d, const insitu_array *x, const insitu_array *w,
                             const insitu_array *errors, const insitu_array *inputs, const insitu_array *count,
                             const insitu_dense *n, uint32_t defer, const insitu_move *move,
                             const insitu_clock *clock)
{
    uint32_t at;
    insitu_dense all = *n;

    if (insitu_still(d, move))
        return;
    at = (uint32_t)insitu_get(count, 0);
    if (at >= defer) /* of a state that no step has left */
        at = 0;
    insitu_copy(d, errors, 0, at * d->size, d->size);
    insitu_copy(x, inputs, 0, at * x->size, x->size);
    at++;
    insitu_set(count, 0, at < defer ? (int32_t)at : 0);
    if (at < defer)
        return;
    all.batch *= defer;
    insitu_matmul_dw_update(errors, inputs, NULL, w, NULL, &all, move, clock);
}
