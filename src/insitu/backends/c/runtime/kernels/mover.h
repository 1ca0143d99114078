/* SPDX-License-Identifier: Apache-2.0 */
/* An update at work, weight by weight: what move.c and the methods in update_<method>.c share. */
#ifndef INSITU_MOVER_H
#define INSITU_MOVER_H

/* An update at work: a block of columns after the other, in each all rows from first to stop. */
typedef struct {
    const insitu_move *move;
    const insitu_clock *clock;
    const insitu_array *w, *state;
    uint32_t rows, columns;
    uint32_t first, stop; /* rows that move */
    uint32_t key, salt;   /* of the random words */
    uint32_t row_start, column_start, row_state, column_state; /* of the shift registers */
    uint32_t start; /* column */
    uint32_t row_word;
    int32_t base, k; /* shift to the right of all, of this row */
    float unit;      /* of real weights */
    uint8_t random, vector, last; /* last: of a window */
    uint32_t place, group; /* of error feedback: place in the group, whose residual is t when the step is 2^s */
    uint32_t s;
    int64_t t;
    uint32_t words[INSITU_BLOCK];
} insitu_mover;

/* Hooks of the methods of the program, in kernels/update_<method>.c; plain rounding has none. */
#define BEGIN(NAME, begin) void begin(insitu_mover *m); /* before the first weight */
INSITU_UPDATE_BEGIN(BEGIN)
#undef BEGIN
#define TENSOR(NAME, look) void look(insitu_mover *m, const insitu_array *g); /* at the whole gradient, after that */
INSITU_UPDATE_TENSOR(TENSOR)
#undef TENSOR
#define ROW(NAME, begin_row) void begin_row(insitu_mover *m, uint32_t row); /* before a block of a row */
INSITU_UPDATE_ROW(ROW)
#undef ROW
/* What is subtracted from weight i, of column m->start + j, in steps of its words; 0 if it has been moved. */
#define CHANGE(NAME, change) int64_t change(insitu_mover *m, uint32_t i, uint32_t j, int32_t g, uint32_t word);
INSITU_UPDATE_CHANGE(CHANGE)
#undef CHANGE
/* A block of a row at once; 0 if that is not for it. */
#define SUMS(NAME, sums) int sums(insitu_mover *m, uint32_t row, const int32_t *g, uint32_t count);
INSITU_UPDATE_SUMS(SUMS)
#undef SUMS

/* Real weights are left out of a program without them (INSITU_NO_REAL). */
int32_t insitu_weight_real(float real, uint32_t left, const insitu_read *read);
float insitu_scaled_real(float x, int32_t e); /* x * 2^e */
void insitu_move_begin(insitu_mover *m, const insitu_array *w, const insitu_array *e, const insitu_array *state,
                       uint32_t rows, uint32_t columns, uint8_t vector, const insitu_move *move,
                       const insitu_clock *clock);
/* Is there no error, and does the rounding add nothing to a gradient of 0? Then no weight moves. */
int insitu_still(const insitu_array *d, const insitu_move *move);
/* Blocks come in order, rows of a block too. */
void insitu_move_columns(insitu_mover *m, uint32_t start, uint32_t count);
/* Columns of a block, of `left`, `most` at most: groups are not cut. */
uint32_t insitu_move_count(const insitu_mover *m, uint32_t most, uint32_t left);
void insitu_move_row(insitu_mover *m, uint32_t row);
/* Weight (row, m->start + j) moves by the gradient g. */
void insitu_move_weight(insitu_mover *m, uint32_t row, uint32_t j, int64_t g);
/* The same for the first `count` weights of the block. */
void insitu_move_sums(insitu_mover *m, uint32_t row, const int32_t *g, uint32_t count);
void insitu_move_end(insitu_mover *m);

#endif
