/* SPDX-License-Identifier: Apache-2.0 */
/* How one weight moves by its gradient. */
#include "internal.h"

void insitu_move_begin(insitu_mover *m, const insitu_array *w, const insitu_array *e, const insitu_array *state,
                       uint32_t rows, uint32_t columns, uint8_t vector, const insitu_move *move,
                       const insitu_clock *clock)
{
    int32_t exponent = e == NULL ? 0 : insitu_get(e, 0);
    uint32_t slice = (rows + move->slices - 1u) / move->slices;

    m->move = move;
    m->clock = clock;
    m->w = w;
    m->state = state;
    m->rows = rows;
    m->columns = columns;
    m->first = 0;
    m->stop = rows;
    m->base = move->how == INSITU_MOVE_LATENT ? 0 : clock->shift[move->index] - exponent;
    m->vector = vector;
    m->last = 0;
    m->random = move->how == INSITU_MOVE_STOCHASTIC || move->how == INSITU_MOVE_NITI || move->how == INSITU_MOVE_DST ||
                move->how == INSITU_MOVE_ROTATING || move->how == INSITU_MOVE_CARRY;
    m->start = 0;
#ifndef INSITU_NO_REAL
    if (move->how == INSITU_MOVE_LATENT)
        m->unit = insitu_scaled_real(move->unit, exponent);
#endif
    if (move->how == INSITU_MOVE_BOP)
        m->base -= 8;
    if (move->how == INSITU_MOVE_ROTATING) {
        m->first = clock->t / move->window % ((rows + slice - 1u) / slice) * slice;
        m->stop = m->first + slice < rows ? m->first + slice : rows;
        m->last = clock->t % move->window == move->window - 1u;
    }
    if (m->random) {
        uint32_t i;

        m->key = insitu_key(clock->seed, move->stream, clock->t);
        m->salt = insitu_salt(m->key);
        if (move->lfsr) {
            m->column_state = m->key == 0u ? 0x9E3779B9u : m->key;
            for (i = 0; !vector && i < rows; i++)
                m->column_state = insitu_lfsr(m->column_state);
        }
    }
}

int insitu_still(const insitu_array *d, const insitu_move *move)
{
    uint32_t i;

    if (move->how != INSITU_MOVE_STOCHASTIC && move->how != INSITU_MOVE_THRESHOLD && move->how != INSITU_MOVE_CARRY)
        return 0;
    for (i = 0; i < d->size; i++)
        if (insitu_bytes(d) ? d->data[i] != 0u : insitu_get(d, i) != 0)
            return 0;
    return 1;
}

uint32_t insitu_move_count(const insitu_mover *m, uint32_t most, uint32_t left)
{
    return left <= most ? left : m->move->how == INSITU_MOVE_CARRY ? most - most % m->move->carry : most;
}

void insitu_move_columns(insitu_mover *m, uint32_t start, uint32_t count)
{
    uint32_t i;

    m->start = start;
    if (!m->random)
        return;
    if (!m->move->lfsr) {
        uint32_t first = m->rows + start + m->key, salt = m->salt;

        for (i = 0; i < count; i++)
            m->words[i] = insitu_mixed(insitu_mixed(first + i) ^ salt);
        for (i = 0; m->vector && i < count; i++)
            m->words[i] = 0;
        return;
    }
    m->row_state = m->key == 0u ? 0x9E3779B9u : m->key;
    for (i = 0; i < m->first; i++)
        m->row_state = insitu_lfsr(m->row_state);
    for (i = 0; i < count; i++) {
        m->words[i] = 0;
        if (!m->vector)
            m->words[i] = m->column_state = insitu_lfsr(m->column_state);
    }
}

void insitu_move_row(insitu_mover *m, uint32_t row)
{
    m->k = m->base;
    if (m->move->channels != NULL && m->move->how != INSITU_MOVE_NITI && m->move->how != INSITU_MOVE_BOP &&
        m->move->how != INSITU_MOVE_ROTATING)
        m->k += m->move->channels[row];
#ifndef INSITU_NO_CARRY
    if (m->move->how == INSITU_MOVE_CARRY) {
        m->place = 0;
        m->group = row * ((m->columns + m->move->carry - 1u) / m->move->carry) + m->start / m->move->carry;
        m->k = m->k < 32 ? m->k : 32;
        m->s = m->k < m->move->fraction ? m->move->fraction : (uint32_t)m->k;
    }
#endif
    if (!m->random)
        return;
    if (m->move->lfsr)
        m->row_word = m->row_state = insitu_lfsr(m->row_state);
    else
        m->row_word = insitu_mix(insitu_mix(row + m->key) ^ m->salt);
}

#ifndef INSITU_NO_CARRY
/* What is left of a group's steps is carried to its next weight. */
static int64_t carried(insitu_mover *m, uint32_t j, int32_t g, uint32_t word)
{
    uint32_t s = m->s, low = s - m->move->fraction;
    int64_t half = (int64_t)((uint64_t)m->move->band << s >> 3), t, change = 0;

    if (m->place == 0u)
        m->t = insitu_left(insitu_get(m->state, m->group), low) + (int64_t)(low == 0u ? 0u : word >> (32u - low));
    t = m->t + insitu_left(g, (uint32_t)((int32_t)s - m->k));
    if (t >= half)
        change = insitu_asr64(t - half, s) + 1;
    else if (t < -half)
        change = -insitu_asr64(-half - 1 - t, s) - 1;
    m->t = t - insitu_left(change, s);
    if (++m->place == m->move->carry || m->start + j + 1u == m->columns) {
        insitu_set(m->state, m->group++, (int32_t)insitu_asr64(m->t, low));
        m->place = 0;
    }
    return change;
}
#endif

static int64_t size_of(int64_t x)
{
    return x < 0 ? -x : x;
}

static int64_t towards_zero(int64_t x, int32_t k)
{
    int64_t size = insitu_shift(size_of(x), k, INSITU_FLOOR, 0);

    return x < 0 ? -size : size;
}

static int64_t jumps(const insitu_mover *m, int64_t g, uint32_t word)
{
    int64_t size = size_of(g), whole = insitu_shift(size, m->k, INSITU_FLOOR, 0);
    int64_t part = insitu_shift(size, m->k - 6, INSITU_FLOOR, 0) - 64 * whole;

    if (g == 0)
        return 0;
    whole += word >> 16 < m->move->jumps[part];
    return g < 0 ? -whole : whole;
}

static void move_average(const insitu_mover *m, uint32_t i, int32_t g)
{
    int32_t w = insitu_get(m->w, i), average = insitu_get(m->state, i);
    int32_t x = insitu_saturate(insitu_shift(g, m->k, INSITU_HALF_UP, 0), -32768, 32767);

    average += (int32_t)insitu_shift(x - average, m->move->gamma, INSITU_HALF_UP, 0);
    average = insitu_clip(average, -32768, 32767);
    insitu_set(m->state, i, average);
    if ((int64_t)average * w >= m->move->flip)
        insitu_set(m->w, i, (int32_t)(0u - (uint32_t)w));
}

#if defined(INSITU_AVX2)
/* The same for a block of a row: most averages are too small for a look at their weight. */
static void move_averages(const insitu_mover *m, uint32_t row, const int32_t *g, uint32_t count)
{
    const insitu_move *move = m->move;
    uint32_t first = row * m->columns + m->start, k = (uint32_t)m->k, gamma = move->gamma, j;
    int64_t half = (int64_t)1 << (k - 1u);
    int32_t nearest = (int32_t)1 << (gamma - 1u), x, average;

    for (j = 0; j < count; j++) {
        uint8_t *kept = m->state->data + 2u * (size_t)(first + j);

        x = insitu_saturate(insitu_asr64(insitu_clip(g[j], move->least, move->most) + half, k), -32768, 32767);
        average = (int16_t)insitu_load16(kept);
        average = insitu_clip(average + insitu_asr(x - average + nearest, gamma), -32768, 32767);
        insitu_store16(kept, (uint16_t)average);
        if (INSITU_RARE(average >= move->flip || average <= -move->flip)) {
            int32_t w = insitu_get(m->w, first + j);

            if (average * w >= move->flip)
                insitu_set(m->w, first + j, -w);
        }
    }
}
#endif

static void move_slice(const insitu_mover *m, uint32_t i, int32_t g, uint32_t word)
{
    uint32_t at = i - m->first * m->columns;
    int32_t sum = insitu_saturate(insitu_get(m->state, at) + insitu_shift(g, m->k, INSITU_STOCHASTIC, word), -128, 127);
    int32_t size = sum < 0 ? -sum : sum, step;

    insitu_set(m->state, at, sum);
    if (m->last && size >= m->move->evidence && sum != 0) {
        step = sum < 0 ? -(int32_t)m->move->stride : (int32_t)m->move->stride;
        insitu_set(m->w, i, insitu_saturate((int64_t)insitu_get(m->w, i) - step, m->move->low, m->move->high));
    }
}

void insitu_move_weight(insitu_mover *m, uint32_t row, uint32_t j, int64_t gradient)
{
    const insitu_move *move = m->move;
    uint32_t i = row * m->columns + m->start + j;
    uint32_t word = m->random ? m->row_word ^ m->words[j] : 0u;
    int32_t g = insitu_saturate(gradient, move->least, move->most), w;
    int64_t change;

    switch (move->how) {
#ifndef INSITU_NO_REAL
    case INSITU_MOVE_LATENT:
        insitu_move_real(m, i, g);
        return;
#endif
    case INSITU_MOVE_BOP:
        move_average(m, i, g);
        return;
    case INSITU_MOVE_ROTATING:
        move_slice(m, i, g, word);
        return;
    case INSITU_MOVE_THRESHOLD:
        change = insitu_shift(g, m->k, INSITU_HALF_UP, 0);
        break;
    case INSITU_MOVE_INTEGER_SGD:
        change = towards_zero(g, m->k);
        if (move->word_decay >= 0)
            change += towards_zero(insitu_get(m->w, i), move->word_decay);
        break;
#ifndef INSITU_NO_CARRY
    case INSITU_MOVE_CARRY:
        change = carried(m, j, g, word);
        break;
#endif
    case INSITU_MOVE_DST:
        change = jumps(m, g, word);
        break;
    default:
        change = insitu_shift(g, m->k, INSITU_STOCHASTIC, word);
        break;
    }
    if (change == 0)
        return;
    w = insitu_get(m->w, i);
    insitu_set(m->w, i, insitu_saturate(w - change * move->stride, move->low, move->high));
}

#ifndef INSITU_NO_CARRY
/* The same as `carried` in 32 bits, a group after the other: most often no weight moves. */
static void carry_sums(insitu_mover *m, uint32_t row, const int32_t *g, uint32_t count)
{
    const insitu_move *move = m->move;
    uint32_t s = m->s, low = s - move->fraction, left = (uint32_t)((int32_t)s - m->k), j = 0, stop;
    int32_t half = (int32_t)((uint32_t)move->band << s >> 3), t, change;

    while (j < count) {
        t = (int32_t)((uint32_t)insitu_get(m->state, m->group) << low);
        t += (int32_t)(low == 0u ? 0u : (m->row_word ^ m->words[j]) >> (32u - low));
        stop = count - j < move->carry ? count : j + move->carry;
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
/* The same for weights that have a remainder each and round to nearest. */
static void carry_each(insitu_mover *m, uint32_t row, const int32_t *g, uint32_t count)
{
    const insitu_move *move = m->move;
    uint32_t s = m->s, low = s - move->fraction, left = (uint32_t)((int32_t)s - m->k), first = row * m->columns + m->start, j;
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

/* Can carry_sums do it? A sum of a group's steps and its remainder stay below 2^30. */
static int carries(const insitu_mover *m, const int32_t *g, uint32_t count)
{
    uint32_t j, any = 0, left = (uint32_t)((int32_t)m->s - m->k);

    if (m->move->how != INSITU_MOVE_CARRY || m->s > 24u || left > 24u)
        return 0;
    for (j = 0; j < count; j++)
        any |= (uint32_t)(g[j] < 0 ? -(g[j] + 1) : g[j]);
    return any >> (28u - left) == 0u;
}
#endif

void insitu_move_sums(insitu_mover *m, uint32_t row, const int32_t *g, uint32_t count)
{
    const insitu_move *move = m->move;
    uint8_t *w = m->w->data + row * m->columns + m->start;
    uint32_t k = (uint32_t)m->k, j;
    int32_t low = move->low, high = move->high, least = move->least, most = move->most, sum, change;

    if (m->w->bits != 8u || m->w->form != INSITU_SIGNED || move->stride != 1u || m->k < 1 || m->k > 30 ||
        (move->how != INSITU_MOVE_STOCHASTIC && move->how != INSITU_MOVE_NITI && move->how != INSITU_MOVE_THRESHOLD)) {
#ifndef INSITU_NO_CARRY
        if (carries(m, g, count)) {
#if defined(INSITU_AVX2)
            if (move->carry == 1u && move->band == 4u && m->s > 0u) {
                carry_each(m, row, g, count);
                return;
            }
#endif
            carry_sums(m, row, g, count);
            return;
        }
#endif
#if defined(INSITU_AVX2)
        if (move->how == INSITU_MOVE_BOP && m->k > 0 && m->k <= 32) {
            move_averages(m, row, g, count);
            return;
        }
#endif
        for (j = 0; j < count; j++)
            insitu_move_weight(m, row, j, g[j]);
        return;
    }
    for (j = 0; j < count; j++) { /* bytes, rounded in 32 bits */
        uint32_t word = m->random ? (m->row_word ^ m->words[j]) >> (32u - k) : (uint32_t)1 << (k - 1u);

        sum = insitu_clip(g[j], least, most);
        word += (uint32_t)sum & (((uint32_t)1 << k) - 1u);
        change = insitu_asr(sum, k) + (int32_t)(word >> k);
        if (change > 255 || change < -255)
            change = change < 0 ? -255 : 255;
        w[j] = (uint8_t)insitu_clip((int8_t)w[j] - change, low, high);
    }
}

void insitu_move_end(insitu_mover *m)
{
    uint32_t i;

    if (m->last)
        for (i = 0; i < m->state->size; i++)
            insitu_set(m->state, i, 0);
}
