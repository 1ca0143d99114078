/* SPDX-License-Identifier: Apache-2.0 */
/* Products of packed matrices of bytes. */
#include "internal.h"

#if defined(INSITU_HOST)

#include "matrix.h"

#if defined(__clang__)
#define UNROLLED
#else
#define UNROLLED _Pragma("GCC unroll 8")
#endif

INSITU_INLINE insitu_lanes add_products(insitu_lanes sums, insitu_lanes right, insitu_lanes left, uint32_t group)
{
#if INSITU_GROUP == 4u
    if (group == 4u)
        return add_fours(sums, right, left);
#endif
    (void)group;
    return add_pairs(sums, right, left);
}

/* A tile: all its sums stay in registers. */
INSITU_INLINE void tile(const uint32_t *left, size_t row, size_t step, const int32_t *start, const uint32_t *panel,
                        uint32_t group, uint32_t groups, int32_t *sums, size_t pitch)
{
    insitu_lanes a[INSITU_ROWS], b[INSITU_ROWS];
    uint32_t i;

    UNROLLED
    for (i = 0; i < INSITU_ROWS; i++)
        a[i] = b[i] = lanes_of((uint32_t)start[i]);
    for (; groups > 0u; groups--, left += step, panel += INSITU_WIDTH) {
        const insitu_lanes x = load_lanes(panel), y = load_lanes(panel + INSITU_LANES);

        UNROLLED
        for (i = 0; i < INSITU_ROWS; i++) {
            const insitu_lanes factor = lanes_of(left[i * row]);

            a[i] = add_products(a[i], x, factor, group);
            b[i] = add_products(b[i], y, factor, group);
        }
    }
    UNROLLED
    for (i = 0; i < INSITU_ROWS; i++) {
        store_lanes(sums + i * pitch, a[i]);
        store_lanes(sums + i * pitch + INSITU_LANES, b[i]);
    }
}

void insitu_product(const uint32_t *left, const insitu_shape *shape, const int32_t *start, const uint32_t *panels,
                    uint32_t tiles, int32_t *sums, size_t pitch)
{
    const uint32_t groups = shape->groups;

    for (; tiles > 0u; tiles--, panels += (size_t)groups * INSITU_WIDTH, sums += INSITU_WIDTH)
        if (shape->group == INSITU_GROUP)
            tile(left, shape->row, shape->step, start, panels, INSITU_GROUP, groups, sums, pitch);
        else
            tile(left, shape->row, shape->step, start, panels, 2, groups, sums, pitch);
}

/* Elements of 8 bits, rounded to nearest. */
static void finish_bytes(uint8_t *z, const int32_t *sums, uint32_t count, int32_t more, const insitu_fit *end)
{
    const uint32_t k = (uint32_t)end->shift;
    const int32_t low = end->low, high = end->high, add = more + (int32_t)((uint32_t)1 << k >> 1);
    uint32_t j;

    for (j = 0; j < count; j++)
        z[j] = (uint8_t)insitu_clip(insitu_asr(sums[j] + add, k), low, high);
}

/* Elements of any width, as they are. */
static void finish_exact(const insitu_array *z, uint32_t first, const int32_t *sums, uint32_t count, int32_t more,
                         const insitu_fit *end)
{
    const int32_t low = end->low, high = end->high;
    int32_t block[INSITU_BLOCK];
    uint32_t start, some, j;

    for (start = 0; start < count; start += some) {
        some = count - start < INSITU_BLOCK ? count - start : INSITU_BLOCK;
        for (j = 0; j < some; j++)
            block[j] = insitu_clip(sums[start + j] + more, low, high);
        insitu_set_many(z, first + start, some, block);
    }
}

void insitu_finish_many(const insitu_array *z, uint32_t first, const int32_t *sums, uint32_t count, int64_t more, int quick,
                        const insitu_fit *end, const insitu_clock *clock)
{
    const int exact = end->rounding == INSITU_EXACT || (end->shift == 0 && end->times == 1);
    uint32_t j;

    if (quick && !end->limited && exact && z->form != INSITU_REAL)
        finish_exact(z, first, sums, count, (int32_t)more, end);
    else if (quick && !end->limited && end->times == 1 && z->bits == 8u && end->rounding == INSITU_HALF_UP &&
             end->shift > 0 && end->shift < 30)
        finish_bytes(z->data + first, sums, count, (int32_t)more, end);
    else
        for (j = 0; j < count; j++)
            insitu_finish(z, first + j, sums[j] + more, end, clock);
}

#endif
