/* SPDX-License-Identifier: Apache-2.0 */
/* How an exact sum becomes an element of an array. */
#include "internal.h"

int32_t insitu_fitted(int64_t x, const insitu_fit *fit, const insitu_clock *clock, uint32_t element)
{
    uint32_t word = 0;

    if (fit->limited)
        x = insitu_saturate(x, fit->least, fit->most);
    if (fit->rounding == INSITU_EXACT)
        return insitu_saturate(x, fit->low, fit->high);
    if (fit->rounding == INSITU_STOCHASTIC)
        word = insitu_word(insitu_key(clock->seed, fit->stream, clock->t), element);
    if (fit->times != 1)
        x = (int64_t)((uint64_t)x * (uint64_t)(int64_t)fit->times);
    return insitu_saturate(insitu_shift(x, fit->shift, fit->rounding, word), fit->low, fit->high);
}
