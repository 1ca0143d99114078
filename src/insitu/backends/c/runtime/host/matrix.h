/* SPDX-License-Identifier: Apache-2.0
 *
 * Matrices of bytes, packed for products on a host.
 */
#ifndef INSITU_MATRIX_H
#define INSITU_MATRIX_H

#include "lanes.h"

#define INSITU_PANELS (1u << 17) /* groups of the right matrix at a time */
#define INSITU_LEFT (1u << 16)   /* of the left one */
#define INSITU_LONG (1u << 13)   /* columns or rows of a matrix at a time */
#define INSITU_PLANES (1u << 18) /* bytes of padded planes, of unpacked ones */
#define INSITU_PLANE (1u << 15)  /* elements of one, as sums */
#define INSITU_SLACK 64u         /* bytes that loads and stores may pass an end by */

/* A thread's room. */
typedef struct {
    __attribute__((aligned(64))) uint32_t panels[INSITU_PANELS];
    __attribute__((aligned(64))) uint32_t left[INSITU_LEFT];
    __attribute__((aligned(64))) int32_t sums[INSITU_ROWS * INSITU_LONG];
    int32_t start[INSITU_LONG];           /* what the sums of a left row start at */
    uint8_t rows[8u * INSITU_LONG + INSITU_SLACK];
    int16_t words[2u * INSITU_LONG];
    int16_t frame[2][2u * INSITU_PLANE + INSITU_SLACK]; /* an offset may be as long as a frame */
    uint8_t planes[INSITU_PLANES + INSITU_SLACK];
    uint8_t bytes[INSITU_PLANES + INSITU_SLACK];
    int32_t plane[INSITU_PLANE + INSITU_SLACK];
    int32_t packed[INSITU_PLANE + INSITU_SLACK];
} insitu_room;

insitu_room *insitu_host_room(void);

/* Planes with their padding, side by side. */
typedef struct {
    const uint8_t *data;
    uint32_t plane, width;
} insitu_planes;

/* group: INSITU_GROUP, of bytes; or 2. */
INSITU_INLINE uint32_t groups_of(uint32_t n, uint32_t group)
{
    return (n + group - 1u) / group;
}

INSITU_INLINE uint32_t tiles_of(uint32_t columns)
{
    return (columns + INSITU_WIDTH - 1u) / INSITU_WIDTH;
}

/* Rows of the left matrix at a time: whole blocks. */
INSITU_INLINE uint32_t block_of(uint32_t groups)
{
    const uint32_t rows = INSITU_LEFT / groups;

    return (rows < INSITU_LONG ? rows : INSITU_LONG) / INSITU_ROWS * INSITU_ROWS;
}

/* Can the elements be bytes? */
INSITU_INLINE int insitu_byte_like(const insitu_array *a)
{
    return insitu_bytes(a) || (a->bits < 8u && a->form != INSITU_REAL);
}

/* Do sums wait for those of the next plane? Packed words are written eight at a time. */
INSITU_INLINE int insitu_held(uint32_t held, uint32_t plane)
{
    return held % 8u != 0u && held + plane <= INSITU_PLANE;
}

/* Are the elements signed words of 16 bits, and products of `count` of them by signed bytes below 2^bits? */
INSITU_INLINE int insitu_fits(const insitu_array *a, uint32_t count, uint32_t bits)
{
    return a->bits <= 16u && a->form != INSITU_REAL && a->form != INSITU_UNSIGNED &&
           (uint64_t)count << (a->bits < 8u ? 14u : a->bits + 6u) < (uint64_t)1 << bits;
}

/* Elements first to first + count as signed bytes, read as weights if `read` is given. */
void insitu_host_row(const insitu_array *a, uint32_t first, uint32_t count, const insitu_read *read, void *to);
/* The same as words. */
void insitu_host_words(const insitu_array *a, uint32_t first, uint32_t count, int16_t *to);
/* The elements as bytes, signed but for unsigned ones; NULL if there is no room. */
const uint8_t *insitu_host_bytes(const insitu_array *a, insitu_room *room);
/* `channels` planes of bytes, padded; 0 if there is no room. */
int insitu_host_pad(const uint8_t *x, const insitu_conv *n, uint32_t channels, insitu_room *room, insitu_planes *to);
/* Element `row` of the windows of the outputs of rows first to stop. */
void insitu_window_row(const insitu_planes *x, const insitu_conv *n, uint32_t row, uint32_t first, uint32_t stop, uint8_t *to);

/* How bytes are packed: signed ones of the right matrix lie 128 higher in groups of four. */
enum { INSITU_RIGHT_UNSIGNED, INSITU_RIGHT_SIGNED, INSITU_LEFT_SIGNED };

/* `group` rows of `count` bytes, INSITU_LONG apart, become a row of groups: column j of tile t at to + t * tile + j. */
void insitu_pack_group(const uint8_t *rows, uint32_t count, uint32_t group, int how, uint32_t *to, size_t tile);
/* The same of two rows of 16-bit words. */
void insitu_pack_words(const int16_t *rows, uint32_t count, uint32_t *to, size_t tile);
/* Eight rows become eight columns of a tile. */
void insitu_pack_columns(const uint8_t *rows, uint32_t groups, uint32_t group, int how, uint32_t *to);
/* One row of the left matrix: signed bytes, or words for pairs. */
void insitu_pack_row(const int8_t *row, uint32_t count, uint32_t group, uint32_t groups, uint32_t *to);
/* What sums of left rows start at. */
void insitu_starts(const uint32_t *left, size_t row, size_t step, uint32_t rows, uint32_t group, uint32_t groups, int how, int32_t *start);

/* The left matrix, whose rows lie `row` apart and their groups `step`, and the number of groups. */
typedef struct {
    size_t row, step;
    uint32_t group, groups;
} insitu_shape;

/* sums[i][j] = start[i] + sum over groups of left row i times column j, of INSITU_ROWS rows and all tiles. */
void insitu_product(const uint32_t *left, const insitu_shape *shape, const int32_t *start, const uint32_t *panels,
                    uint32_t tiles, int32_t *sums, size_t pitch);
/* Sums, and more, become elements first to first + count; quick: insitu_small(more) and no sum above 2^30 */
void insitu_finish_many(const insitu_array *z, uint32_t first, const int32_t *sums, uint32_t count, int64_t more, int quick,
                        const insitu_fit *end, const insitu_clock *clock);

#endif
