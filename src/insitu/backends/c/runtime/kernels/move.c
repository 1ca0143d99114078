/* SPDX-License-Identifier: Apache-2.0 */
/* How one weight moves by its gradient: plain rounding here, other methods in update_<method>.c. */
#include "internal.h"

#ifndef INSITU_COUNTER

/* The state some words further. */
static uint32_t ahead(uint32_t state, uint32_t words)
{
    while (words-- != 0u)
        state = insitu_lfsr(state);
    return state;
}

/* A register that runs on; 0 if it has not started. */
static uint32_t started(const insitu_array *registers, uint32_t which, uint32_t stream, const insitu_clock *clock)
{
    uint32_t state = (uint32_t)insitu_get(registers, which);

    if (state == 0u)
        state = insitu_key(clock->seed, stream, which);
    return state == 0u ? 0x9E3779B9u : state;
}

/* Where the words of rows and columns start. */
static void begin_registers(insitu_mover *m)
{
    uint32_t rows = m->move->registers == INSITU_COLUMNS_FIRST;

    if (m->move->registers != INSITU_ANEW) {
        m->row_start = started(m->state, rows, m->move->stream, m->clock);
        m->column_start = started(m->state, 1u - rows, m->move->stream, m->clock);
    } else {
        m->row_start = m->key == 0u ? 0x9E3779B9u : m->key;
        m->column_start = m->vector ? m->row_start : ahead(m->row_start, m->rows);
    }
    m->column_state = m->column_start;
}

#endif

/* Which of the words of columns a column takes. */
static uint32_t number(const insitu_move *move, uint32_t column)
{
    return move->maps == 0u ? column : column % move->places * move->maps + column / move->places;
}

#ifndef INSITU_COUNTER

/* The words of a block of columns that takes them in another order: all words pass by. */
static void find_columns(insitu_mover *m, uint32_t start, uint32_t count)
{
    uint32_t state = m->column_start, maps = m->move->maps, places = m->move->places, place, map;

    for (place = 0; place < places; place++)
        for (map = 0; map < maps; map++) {
            uint32_t column = map * places + place;

            state = insitu_lfsr(state);
            if (column >= start && column - start < count)
                m->words[column - start] = state;
        }
}

/* The words of a block of columns; those of rows start again. */
static void shift_columns(insitu_mover *m, uint32_t start, uint32_t count)
{
    uint32_t i;

    m->row_state = ahead(m->row_start, m->first);
    for (i = 0; i < count; i++) {
        m->words[i] = 0;
        if (!m->vector && m->move->maps == 0u) {
            m->column_state = insitu_lfsr(m->column_state);
            m->words[i] = m->column_state;
        }
    }
    if (m->move->maps != 0u)
        find_columns(m, start, count);
}

void insitu_registers_advance(const insitu_array *registers, uint32_t stream, uint32_t first, uint32_t second,
                              const insitu_clock *clock)
{
    if (first != 0u)
        insitu_set(registers, 0, (int32_t)ahead(started(registers, 0, stream, clock), first));
    if (second != 0u)
        insitu_set(registers, 1, (int32_t)ahead(started(registers, 1, stream, clock), second));
}

#endif

void insitu_move_begin(insitu_mover *m, const insitu_array *w, const insitu_array *e, const insitu_array *state,
                       uint32_t rows, uint32_t columns, uint8_t vector, const insitu_move *move,
                       const insitu_clock *clock)
{
    int32_t exponent = e == NULL ? 0 : insitu_get(e, 0);

    m->move = move;
    m->clock = clock;
    m->w = w;
    m->state = state;
    m->rows = rows;
    m->columns = columns;
    m->first = 0;
    m->stop = rows;
    m->base = clock->shift[move->index] - exponent;
    m->vector = vector;
    m->last = 0;
    m->random = move->random;
    m->start = 0;
    switch (move->how) {
#define CASE(NAME, begin) \
    case INSITU_UPDATE_##NAME: begin(m); break;
        INSITU_UPDATE_BEGIN(CASE)
#undef CASE
    default: break;
    }
    if (move->random) {
        m->key = insitu_key(clock->seed, move->stream, clock->t);
        m->salt = insitu_salt(m->key);
#ifndef INSITU_COUNTER
        if (move->lfsr)
            begin_registers(m);
#endif
    }
}

int insitu_still(const insitu_array *d, const insitu_move *move)
{
    uint32_t i;

    if (!move->zero_is_noop)
        return 0;
    for (i = 0; i < d->size; i++)
        if (insitu_bytes(d) ? d->data[i] != 0u : insitu_get(d, i) != 0)
            return 0;
    return 1;
}

uint32_t insitu_move_count(const insitu_mover *m, uint32_t most, uint32_t left)
{
    return left <= most ? left : most - most % m->move->group;
}

void insitu_move_columns(insitu_mover *m, uint32_t start, uint32_t count)
{
    uint32_t i;

    m->start = start;
    if (!m->random)
        return;
    if (!m->move->lfsr) {
        uint32_t first = m->rows + m->key, salt = m->salt;

        for (i = 0; i < count; i++)
            m->words[i] = insitu_mixed(insitu_mixed(first + number(m->move, start + i)) ^ salt);
        for (i = 0; m->vector && i < count; i++)
            m->words[i] = 0;
        return;
    }
#ifndef INSITU_COUNTER
    shift_columns(m, start, count);
#endif
}

void insitu_move_row(insitu_mover *m, uint32_t row)
{
    m->k = m->base;
    if (m->move->channels != NULL)
        m->k += m->move->channels[row];
    switch (m->move->how) {
#define CASE(NAME, begin_row) \
    case INSITU_UPDATE_##NAME: begin_row(m, row); break;
        INSITU_UPDATE_ROW(CASE)
#undef CASE
    default: break;
    }
    if (!m->random)
        return;
    if (m->move->lfsr) {
        m->row_state = insitu_lfsr(m->row_state);
        m->row_word = m->row_state;
    } else
        m->row_word = insitu_mix(insitu_mix(row + m->key) ^ m->salt);
}

void insitu_move_weight(insitu_mover *m, uint32_t row, uint32_t j, int64_t gradient)
{
    const insitu_move *move = m->move;
    uint32_t i = row * m->columns + m->start + j;
    uint32_t word = move->random ? m->row_word ^ m->words[j] : 0u;
    int32_t g = insitu_saturate(gradient, move->least, move->most), w;
    int64_t change;

    switch (move->how) {
#define CASE(NAME, change_of) \
    case INSITU_UPDATE_##NAME: change = change_of(m, i, j, g, word); break;
        INSITU_UPDATE_CHANGE(CASE)
#undef CASE
    default: change = insitu_shift(g, m->k, move->rounding, word); break;
    }
    if (change == 0)
        return;
    w = insitu_get(m->w, i);
    change = (int64_t)((uint64_t)(int64_t)w - (uint64_t)change * move->stride); /* in range but for absurd shifts */
    insitu_set(m->w, i, insitu_saturate(change, move->low, move->high));
}

void insitu_move_sums(insitu_mover *m, uint32_t row, const int32_t *g, uint32_t count)
{
    const insitu_move *move = m->move;
    uint8_t *w = m->w->data + row * m->columns + m->start;
    uint32_t k = (uint32_t)m->k, j;
    int32_t low = move->low, high = move->high, least = move->least, most = move->most, sum, change;

    switch (move->how) {
#define CASE(NAME, sums) \
    case INSITU_UPDATE_##NAME: \
        if (sums(m, row, g, count)) \
            return; \
        break;
        INSITU_UPDATE_SUMS(CASE)
#undef CASE
    default: break;
    }
    if (m->w->bits != 8u || m->w->form != INSITU_SIGNED || move->stride != 1u || m->k < 1 || m->k > 30 ||
        move->rounding == INSITU_EXACT) {
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
