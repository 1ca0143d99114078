/* SPDX-License-Identifier: Apache-2.0
 *
 * The kernels of a training step: what the generated list of calls is made of.
 *
 * Every array is packed: element i has the bits i*b to i*b + b - 1 of a stream of bits, low bits first (so 8, 16 and 32
 * bits are plain little-endian arrays). A kernel computes what the integer reference of insitu computes for the op of
 * its name, bit for bit. One function a file under kernels/. No malloc, no recursion, no variable-length array.
 *
 * Legend: B batch, I inputs, O outputs, C channels or classes, K output channels, H W input plane, P Q output plane, R S kernel.
 */
#ifndef INSITU_KERNELS_H
#define INSITU_KERNELS_H

#include <stddef.h>
#include <stdint.h>

#include "insitu_updates.h"

#ifdef __cplusplus
extern "C" {
#endif

/* How the words of an array are read. */
enum { INSITU_UNSIGNED, INSITU_SIGNED, INSITU_BINARY /* 0 is -1, 1 is +1 */, INSITU_REAL /* float32 */ };

typedef struct {
    uint8_t *data;
    uint32_t size; /* elements */
    uint8_t bits;  /* of a word: 1 to 32 */
    uint8_t form;
} insitu_array;

/* What changes from step to step. */
typedef struct {
    uint32_t seed;
    uint32_t t;          /* training steps done before */
    float rate;          /* learning rate, of real weights */
    const int8_t *shift; /* per update: the shift that the learning rate stands for */
} insitu_clock;

enum { INSITU_EXACT, INSITU_FLOOR, INSITU_HALF_UP, INSITU_STOCHASTIC };

/* saturate(round(times * x * 2^-shift)) */
typedef struct {
    int32_t times;
    int32_t low, high;
    uint32_t stream; /* of the random words, of stochastic rounding */
    int8_t shift;
    uint8_t rounding; /* INSITU_EXACT: no shift, saturation alone */
    uint8_t limited;  /* the exact sum saturates to least and most before anything else */
    int32_t least, most;
} insitu_fit;

enum { INSITU_AS_STORED, INSITU_HIGH_BITS, INSITU_FROM_REAL, INSITU_POWER_FROM_REAL };

/* How weights are read. */
typedef struct {
    const int8_t *channels; /* per output channel: bits to the left; or NULL */
    float per_unit;         /* of real weights: 1 / unit */
    int32_t low, high;
    uint8_t how;
    int8_t shift; /* low bits that are dropped, rounded half-up */
    uint8_t binary; /* the sign alone, +1 for 0 */
    uint8_t sign;   /* the sign of what is read, 0 for 0 */
} insitu_read;

typedef struct {
    uint32_t batch, outputs, inputs;
    uint32_t pitch; /* columns of the stored matrix, where it has more */
} insitu_dense;

typedef struct {
    uint32_t batch, c, h, w, k, p, q, r, s, groups;
    uint32_t stride[2], padding[2], dilation[2];
} insitu_conv;

#define INSITU_NAME(NAME) INSITU_UPDATE_##NAME,
enum { INSITU_UPDATE_ROUNDED /* by plain rounding */, INSITU_UPDATE_METHODS(INSITU_NAME) INSITU_UPDATE_COUNT };

/* Which words register 0 gives. */
enum { INSITU_ANEW, INSITU_ROWS_FIRST, INSITU_COLUMNS_FIRST };

/* How weights move by a gradient: by its step x = g 2^-k, k = clock.shift[index] - the gradient's exponent. */
typedef struct {
    const int8_t *channels; /* per row: further bits to the right; or NULL */
    int32_t low, high;      /* of the stored word */
    int32_t least, most;    /* of the exact gradient, where it saturates; else the range of int32 */
    uint32_t stream;        /* of the random words */
    uint32_t maps, places;  /* columns take them in channels-last order, as a map of that size; 0: in their own */
    uint16_t index;         /* in insitu_clock.shift */
    uint8_t how;            /* the method */
    uint8_t rounding;       /* plain rounding of x; INSITU_EXACT: another method */
    uint8_t stride;         /* distance of neighbouring integers: 2 for binary words */
    uint8_t random;         /* draws random words */
    uint8_t lfsr;           /* random words from a shift register */
    uint8_t registers;      /* from the two of `state`, which run on; 0: started anew */
    uint8_t zero_is_noop;   /* a gradient of zeros changes neither weights nor state */
    uint8_t group;          /* a block of columns is cut at multiples of it alone; 1: anywhere */
    union {
        uint8_t nothing;
        INSITU_UPDATE_FIELDS
    } of; /* the method's own */
} insitu_move;

/* --- words, random numbers, rounding ------------------------------------------------------------------------ */

int32_t insitu_get(const insitu_array *a, uint32_t i);
void insitu_set(const insitu_array *a, uint32_t i, int32_t value);
float insitu_get_real(const insitu_array *a, uint32_t i);
void insitu_set_real(const insitu_array *a, uint32_t i, float value);
uint32_t insitu_mix(uint32_t x);
/* The key of a stream; stream is mix(crc32(name)), t 0 for what is fixed. */
uint32_t insitu_key(uint32_t seed, uint32_t stream, uint32_t t);
uint32_t insitu_word(uint32_t key, uint32_t index);
uint32_t insitu_lfsr(uint32_t state);
int32_t insitu_saturate(int64_t x, int32_t low, int32_t high);
/* x * 2^-k; k clipped as in the reference: -k to the left, at most 40 (32 if stochastic) to the right. */
int64_t insitu_shift(int64_t x, int32_t k, uint8_t rounding, uint32_t word);
/* insitu_fit of an exact sum; element: which random word. */
int32_t insitu_fitted(int64_t x, const insitu_fit *fit, const insitu_clock *clock, uint32_t element);
uint32_t insitu_bit_length(uint64_t n);
/* Weight i, of output channel `channel`, as an op computes with it. */
int32_t insitu_weight(const insitu_array *w, uint32_t i, uint32_t channel, const insitu_read *read);
/* A uniform integer of a feedback matrix: binary for reach 0, else -reach to reach. */
int32_t insitu_feedback(uint32_t word, int32_t reach);

/* --- products -------------------------------------------------------------------------------------------------- */

/* z_BO = x_BI w_OI^T (+ bias_O << bias_shift); bias may be NULL. */
void insitu_matmul(const insitu_array *x, const insitu_array *w, const insitu_array *bias, const insitu_array *z,
                   const insitu_dense *n, const insitu_read *read, const insitu_read *read_bias, int8_t bias_shift,
                   const insitu_fit *end, const insitu_clock *clock);
/* e_BI = d_BO w_OI, the first I columns of a matrix of n->pitch */
void insitu_matmul_dx(const insitu_array *d, const insitu_array *w, const insitu_array *e, const insitu_dense *n,
                      const insitu_read *read, const insitu_fit *end, const insitu_clock *clock);
/* g_OI = d_BO^T x_BI */
void insitu_matmul_dw(const insitu_array *d, const insitu_array *x, const insitu_array *g, const insitu_dense *n,
                      const insitu_fit *end, const insitu_clock *clock);
/* e_BI = d_BO m_OI with m regenerated */
/* Features are added up in n->outputs numbers with random signs, and errors of these sent back to n->outputs features. */
void insitu_sketch(const insitu_array *x, const insitu_array *y, const insitu_dense *n, uint32_t stream,
                   const insitu_clock *clock);
void insitu_unsketch(const insitu_array *d, const insitu_array *e, const insitu_dense *n, uint32_t stream,
                     const insitu_clock *clock);
void insitu_random_project(const insitu_array *d, const insitu_array *e, const insitu_dense *n, uint32_t stream,
                           int32_t reach, const insitu_clock *clock);
/* out_BI = m[label_B, :I] */
void insitu_select_rows(const insitu_array *m, const insitu_array *label, const insitu_array *out, const insitu_dense *n);
void insitu_random_rows(const insitu_array *label, const insitu_array *out, const insitu_dense *n, uint32_t stream,
                        int32_t reach, const insitu_clock *clock);
void insitu_fixed_random(const insitu_array *out, uint32_t stream, int32_t reach, const insitu_clock *clock);
/* workspace: n->c / n->groups * n->r * n->s bytes where x has 8 bits, for the gathered window; may be NULL (slower) */
void insitu_conv2d(const insitu_array *x, const insitu_array *w, const insitu_array *bias, const insitu_array *z,
                   const insitu_conv *n, const insitu_read *read, const insitu_read *read_bias, int8_t bias_shift,
                   const insitu_fit *end, const insitu_clock *clock, uint8_t *workspace);
void insitu_conv2d_dx(const insitu_array *d, const insitu_array *w, const insitu_array *e, const insitu_conv *n,
                      const insitu_read *read, const insitu_fit *end, const insitu_clock *clock);
void insitu_conv2d_dw(const insitu_array *d, const insitu_array *x, const insitu_array *g, const insitu_conv *n,
                      const insitu_fit *end, const insitu_clock *clock);
/* g_C = sum of d over the batch and the `inner` elements of a channel */
void insitu_sum_to_channels(const insitu_array *d, const insitu_array *g, uint32_t batch, uint32_t channels,
                            uint32_t inner, const insitu_fit *end, const insitu_clock *clock);

/* --- updates: e is the gradient's run-time exponent or NULL, state what the update keeps or NULL ------------- */

/* columns 0: a vector, whose random words are those of its rows. */

/* The two registers go on by so many words each, behind an update that drew them. */
void insitu_registers_advance(const insitu_array *registers, uint32_t stream, uint32_t first, uint32_t second,
                              const insitu_clock *clock);

void insitu_update(const insitu_array *w, const insitu_array *g, const insitu_array *e, const insitu_array *state,
                   uint32_t rows, uint32_t columns, const insitu_move *move, const insitu_clock *clock);
void insitu_matmul_dw_update(const insitu_array *d, const insitu_array *x, const insitu_array *e,
                             const insitu_array *w, const insitu_array *state, const insitu_dense *n,
                             const insitu_move *move, const insitu_clock *clock);
void insitu_matmul_dw_deferred(const insitu_array *d, const insitu_array *x, const insitu_array *w,
                             const insitu_array *errors, const insitu_array *inputs, const insitu_array *count,
                             const insitu_dense *n, uint32_t defer, const insitu_move *move,
                             const insitu_clock *clock);
void insitu_conv2d_dw_update(const insitu_array *d, const insitu_array *x, const insitu_array *e,
                             const insitu_array *w, const insitu_array *state, const insitu_conv *n,
                             const insitu_move *move, const insitu_clock *clock);
/* The same by the errors d of windows of rows x columns, each where the output h is above 0; plane: room for the errors of a
   channel, or NULL. */
void insitu_gated_conv2d_dw_update(const insitu_array *d, const insitu_array *h, const insitu_array *x,
                                   const insitu_array *e, const insitu_array *w, const insitu_array *state,
                                   const insitu_conv *n, uint32_t rows, uint32_t columns, const insitu_move *move,
                                   const insitu_clock *clock, uint8_t *plane);
void insitu_gated_sum_to_channels_update(const insitu_array *d, const insitu_array *h, const insitu_array *e,
                                         const insitu_array *w, const insitu_array *state, const insitu_conv *n,
                                         uint32_t rows, uint32_t columns, const insitu_move *move,
                                         const insitu_clock *clock);
void insitu_sum_to_channels_update(const insitu_array *d, const insitu_array *e, const insitu_array *w,
                                   const insitu_array *state, uint32_t batch, uint32_t channels, uint32_t inner,
                                   const insitu_move *move, const insitu_clock *clock);

/* --- formats --------------------------------------------------------------------------------------------------- */

/* e (a scalar, or one per sample; or NULL) is added to the shift, or taken off it if minus. */
void insitu_requant(const insitu_array *x, const insitu_array *e, const insitu_array *y, const insitu_fit *fit,
                    uint8_t minus, const insitu_clock *clock);
/* Block exponent, one per group of x (`groups` equal parts): max(0, bit_length(max |x|) - (bits - 1)) - usual. */
void insitu_exponent(const insitu_array *x, const insitu_array *e, uint32_t groups, uint8_t bits, int8_t usual);
void insitu_norm_exponent(const insitu_array *x, const insitu_array *e, uint32_t groups, uint32_t by);
/* e + f; a scalar serves all of the other. */
void insitu_add_exponents(const insitu_array *e, const insitu_array *f, const insitu_array *out);
/* a + b at the larger of their exponents e + shift_a, f + shift_b (e, f may be NULL); high: that exponent. */
void insitu_add_aligned(const insitu_array *a, const insitu_array *b, const insitu_array *e, const insitu_array *f,
                        const insitu_array *y, const insitu_array *high, int8_t shift_a, int8_t shift_b, int32_t low,
                        int32_t most);

/* --- pools: n->c channels of h w, p q outputs, kernel r s ------------------------------------------------------ */

void insitu_max_pool(const insitu_array *x, const insitu_array *y, const insitu_array *position, const insitu_conv *n);
void insitu_max_unpool(const insitu_array *d, const insitu_array *position, const insitu_array *e, uint32_t planes);
void insitu_sum_pool(const insitu_array *x, const insitu_array *y, const insitu_conv *n, const insitu_fit *end,
                     const insitu_clock *clock);
void insitu_sum_unpool(const insitu_array *d, const insitu_array *e, const insitu_conv *n);
void insitu_unpool_gate(const insitu_array *d, const insitu_array *y, const insitu_array *e, const insitu_conv *n);

/* --- element by element ------------------------------------------------------------------------------------------ */

void insitu_relu(const insitu_array *x, const insitu_array *y);
void insitu_binarize(const insitu_array *x, const insitu_array *y); /* +1 for 0 */
void insitu_gate(const insitu_array *d, const insitu_array *y, const insitu_array *e);
void insitu_stash(const insitu_array *x, const insitu_array *y);
void insitu_inside(const insitu_array *d, const insitu_array *y, const insitu_array *e, int32_t low, int32_t high);
/* x where y (x if NULL) is 0 or more, else x >> shift */
void insitu_leaky(const insitu_array *x, const insitu_array *y, const insitu_array *z, uint8_t shift);
/* y = table[x - least] */
void insitu_lut(const insitu_array *x, const insitu_array *y, const insitu_array *table, int32_t least);
void insitu_add(const insitu_array *a, const insitu_array *b, const insitu_array *y);
void insitu_sub(const insitu_array *a, const insitu_array *b, const insitu_array *y);
void insitu_mul(const insitu_array *a, const insitu_array *b, const insitu_array *y);
void insitu_sign(const insitu_array *x, const insitu_array *y);
void insitu_offset(const insitu_array *x, const insitu_array *y, int32_t by);
/* x where its random word is at least threshold, else 0 */
void insitu_dropout(const insitu_array *x, const insitu_array *y, uint32_t threshold, uint32_t each,
                    uint32_t stream, const insitu_clock *clock);
void insitu_copy(const insitu_array *x, const insitu_array *y, uint32_t first, uint32_t to, uint32_t count);

/* --- rows of a batch ---------------------------------------------------------------------------------------------- */

void insitu_row_squares(const insitu_array *x, const insitu_array *y, uint32_t rows);
void insitu_row_scale(const insitu_array *x, const insitu_array *d, const insitu_array *y);
/* Sample after sample, over and over, its first `classes` elements 0 but `one` at the label. */
void insitu_overlay(const insitu_array *x, const insitu_array *label, const insitu_array *y, uint32_t samples,
                    uint32_t classes, int32_t one);
void insitu_overlay_each(const insitu_array *x, const insitu_array *y, uint32_t samples, uint32_t classes, int32_t one);
void insitu_overlay_even(const insitu_array *x, const insitu_array *y, uint32_t samples, uint32_t classes, int32_t one);
void insitu_wrong_labels(const insitu_array *label, const insitu_array *out, uint32_t classes, uint32_t stream,
                         const insitu_clock *clock);

/* --- errors of losses: z_BC, label_B; a trigger returns the number of samples whose error is not all zero -------- */

void insitu_softmax_error(const insitu_array *z, const insitu_array *label, const insitu_array *e, uint32_t batch,
                          uint32_t classes, const insitu_array *table, int32_t one, int32_t low, int32_t high);
void insitu_difference_error(const insitu_array *z, const insitu_array *label, const insitu_array *e, uint32_t batch,
                             uint32_t classes, int32_t one, int32_t low, int32_t high);
uint32_t insitu_margin_error(const insitu_array *z, const insitu_array *label, const insitu_array *e, uint32_t batch,
                             uint32_t classes, int32_t one, int32_t low, int32_t high);
/* 1 at a class within the margin floor(sum |h| 2^(exponent - shift)) + margin of the right one (every one, or the first of
   the highest score), minus their number there, both times shares[their number]; h, exponent and shares may be NULL. */
uint32_t insitu_violated(const insitu_array *z, const insitu_array *label, const insitu_array *h,
                         const insitu_array *exponent, const insitu_array *e, uint32_t batch, uint32_t classes,
                         int32_t shift, int32_t margin, uint32_t every, const insitu_array *shares);
void insitu_less_first_half(const insitu_array *p, const insitu_array *e, int32_t one, int32_t low, int32_t high);

#ifdef __cplusplus
}
#endif

#endif
