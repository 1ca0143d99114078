/* SPDX-License-Identifier: Apache-2.0 */
/* Error feedback: the residual r of a group's rounding is added to its next step.
 *
 *     t = x + r;  n = 0 if -h <= t < h, else the integer nearest to 0 with -h <= t - n < h, h = threshold / 8;  r = t - n
 *
 * in units of 2^-s of a step. Between training steps a residual has `fraction_bits`; random bits stand for the others. */
#include "internal.h"

void insitu_error_feedback_row(insitu_mover *m, uint32_t row)
{
    uint32_t size = m->move->of.error_feedback.group_size, fraction = m->move->of.error_feedback.fraction_bits;

    m->place = 0;
    m->group = row * ((m->columns + size - 1u) / size) + m->start / size;
    m->k = m->k < 32 ? m->k : 32;
    m->s = m->k < (int32_t)fraction ? fraction : (uint32_t)m->k;
}

int64_t insitu_error_feedback_change(insitu_mover *m, uint32_t i, uint32_t j, int32_t g, uint32_t word)
{
    uint32_t s = m->s, low = s - m->move->of.error_feedback.fraction_bits;
    int64_t half = (int64_t)((uint64_t)m->move->of.error_feedback.threshold << s >> 3), t, change = 0;

    (void)i;
    if (m->place == 0u)
        m->t = insitu_left(insitu_get(m->state, m->group), low) + (int64_t)(low == 0u ? 0u : word >> (32u - low));
    t = m->t + insitu_left(g, (uint32_t)((int32_t)s - m->k));
    if (t >= half)
        change = insitu_asr64(t - half, s) + 1;
    else if (t < -half)
        change = -insitu_asr64(-half - 1 - t, s) - 1;
    m->t = t - insitu_left(change, s);
    if (++m->place == m->move->of.error_feedback.group_size || m->start + j + 1u == m->columns) {
        insitu_set(m->state, m->group++, (int32_t)insitu_asr64(m->t, low));
        m->place = 0;
    }
    return change;
}

/* The same for a block of a row in 32 bits, a group after the other: most often no weight moves. */
static void by_group(insitu_mover *m, uint32_t row, const int32_t *g, uint32_t count)
{
    const insitu_move *move = m->move;
    uint32_t s = m->s, low = s - move->of.error_feedback.fraction_bits, left = (uint32_t)((int32_t)s - m->k), j = 0, stop;
    uint32_t size = move->of.error_feedback.group_size;
    int32_t half = (int32_t)((uint32_t)move->of.error_feedback.threshold << s >> 3), t, change;

    while (j < count) {
        t = (int32_t)((uint32_t)insitu_get(m->state, m->group) << low);
        t += (int32_t)(low == 0u ? 0u : (m->row_word ^ m->words[j]) >> (32u - low));
        stop = count - j < size ? count : j + size;
        for (; j < stop; j++) {
            t += (int32_t)((uint32_t)insitu_clip(g[j], move->least, move->most) << left);
            if (INSITU_RARE((uint32_t)(t + half) >= 2u * (uint32_t)half)) {
                uint32_t i = row * m->columns + m->start + j;

                change = t >= half ? insitu_asr(t - half, s) + 1 : -insitu_asr(-half - 1 - t, s) - 1;
                t -= (int32_t)((uint32_t)change << s);
                change = insitu_get(m->w, i) - change * (int32_t)move->stride;
                insitu_set(m->w, i, insitu_clip(change, move->low, move->high));
            }
        }
        insitu_set(m->state, m->group++, insitu_asr(t, low));
    }
}

#if defined(INSITU_AVX2)
/* The same for weights that have a residual each and round to nearest. */
static void by_weight(insitu_mover *m, uint32_t row, const int32_t *g, uint32_t count)
{
    const insitu_move *move = m->move;
    uint32_t s = m->s, low = s - move->of.error_feedback.fraction_bits, left = (uint32_t)((int32_t)s - m->k), first = row * m->columns + m->start, j;
    uint32_t down = (32u - low) & 31u, drawn = low == 0u ? 0u : 0xFFFFFFFFu, row_word = m->row_word;
    int32_t w[INSITU_BLOCK], rest[INSITU_BLOCK], half = (int32_t)1 << (s - 1u), least = move->least, most = move->most, t, change;

    insitu_get_many(m->w, first, count, w);
    insitu_get_many(m->state, m->group, count, rest);
    for (j = 0; j < count; j++) {
        t = (int32_t)((uint32_t)rest[j] << low) + (int32_t)(((row_word ^ m->words[j]) & drawn) >> down);
        t += (int32_t)((uint32_t)insitu_clip(g[j], least, most) << left);
        change = insitu_asr(t + half, s);
        rest[j] = insitu_asr(t - (int32_t)((uint32_t)change << s), low);
        w[j] = insitu_clip(w[j] - change * (int32_t)move->stride, move->low, move->high);
    }
    insitu_set_many(m->w, first, count, w);
    insitu_set_many(m->state, m->group, count, rest);
    m->group += count;
}
#endif

/* Are 32 bits enough? A sum of a group's steps and its residual stay below 2^30. */
static int fits(const insitu_mover *m, const int32_t *g, uint32_t count)
{
    uint32_t j, any = 0, left = (uint32_t)((int32_t)m->s - m->k);

    if (m->s > 24u || left > 24u)
        return 0;
    for (j = 0; j < count; j++)
        any |= (uint32_t)(g[j] < 0 ? -(g[j] + 1) : g[j]);
    return any >> (28u - left) == 0u;
}

int insitu_error_feedback_sums(insitu_mover *m, uint32_t row, const int32_t *g, uint32_t count)
{
    if (!fits(m, g, count))
        return 0;
#if defined(INSITU_AVX2)
    if (m->move->of.error_feedback.group_size == 1u && m->move->of.error_feedback.threshold == 4u && m->s > 0u) {
        by_weight(m, row, g, count);
        return 1;
    }
#endif
    by_group(m, row, g, count);
    return 1;
}
