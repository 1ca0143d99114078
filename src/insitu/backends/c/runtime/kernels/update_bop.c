/* SPDX-License-Identifier: Apache-2.0 */
/* Bop: binary weights flip by a moving average m of their gradient x, which has 8 more bits.
 *
 *     m = sat(m + (x - m) 2^-gamma);  w = -w where m has w's sign and |m| >= flip */
#include "internal.h"

void insitu_bop_begin(insitu_mover *m)
{
    m->base -= 8;
}

int64_t insitu_bop_change(insitu_mover *m, uint32_t i, uint32_t j, int32_t g, uint32_t word)
{
    int32_t w = insitu_get(m->w, i), average = insitu_get(m->state, i);
    int32_t x = insitu_saturate(insitu_shift(g, m->k, INSITU_HALF_UP, 0), -32768, 32767);

    (void)j;
    (void)word;
    average += (int32_t)insitu_shift(x - average, m->move->of.bop.gamma, INSITU_HALF_UP, 0);
    average = insitu_clip(average, -32768, 32767);
    insitu_set(m->state, i, average);
    if ((int64_t)average * w >= m->move->of.bop.flip)
        insitu_set(m->w, i, (int32_t)(0u - (uint32_t)w));
    return 0;
}

#if defined(INSITU_AVX2)
/* The same for a block of a row: most averages are too small for a look at their weight. */
static void move_averages(const insitu_mover *m, uint32_t row, const int32_t *g, uint32_t count)
{
    const insitu_move *move = m->move;
    uint32_t first = row * m->columns + m->start, k = (uint32_t)m->k, gamma = move->of.bop.gamma, j;
    int32_t flip = move->of.bop.flip;
    int64_t half = (int64_t)1 << (k - 1u);
    int32_t nearest = (int32_t)1 << (gamma - 1u), x, average;

    for (j = 0; j < count; j++) {
        uint8_t *kept = m->state->data + 2u * (size_t)(first + j);

        x = insitu_saturate(insitu_asr64(insitu_clip(g[j], move->least, move->most) + half, k), -32768, 32767);
        average = (int16_t)insitu_load16(kept);
        average = insitu_clip(average + insitu_asr(x - average + nearest, gamma), -32768, 32767);
        insitu_store16(kept, (uint16_t)average);
        if (INSITU_RARE(average >= flip || average <= -flip)) {
            int32_t w = insitu_get(m->w, first + j);

            if (average * w >= flip)
                insitu_set(m->w, first + j, -w);
        }
    }
}
#endif

int insitu_bop_sums(insitu_mover *m, uint32_t row, const int32_t *g, uint32_t count)
{
#if defined(INSITU_AVX2)
    if (m->k > 0 && m->k <= 32) {
        move_averages(m, row, g, count);
        return 1;
    }
#endif
    (void)m;
    (void)row;
    (void)g;
    (void)count;
    return 0;
}
