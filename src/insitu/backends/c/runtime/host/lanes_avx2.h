/* SPDX-License-Identifier: Apache-2.0 */
/* Lanes with AVX2. */
#ifndef INSITU_LANES_AVX2_H
#define INSITU_LANES_AVX2_H

#define INSITU_LANES 8u
#define INSITU_ROWS 4u /* of a tile: 8 sums, 2 columns, a factor and a product fill 16 registers */

typedef __m256i insitu_lanes;

INSITU_INLINE insitu_lanes lanes_of(uint32_t x)
{
    return _mm256_set1_epi32((int32_t)x);
}

INSITU_INLINE insitu_lanes load_lanes(const void *p)
{
    return _mm256_loadu_si256((const __m256i *)p);
}

/* The first `count`; 0 in the others. */
INSITU_INLINE insitu_lanes load_some_lanes(const void *p, uint32_t count)
{
    const __m256i at = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);

    return _mm256_maskload_epi32((const int *)p, _mm256_cmpgt_epi32(lanes_of(count), at));
}

INSITU_INLINE void store_lanes(void *p, insitu_lanes x)
{
    _mm256_storeu_si256((__m256i *)p, x);
}

INSITU_INLINE insitu_lanes add_lanes(insitu_lanes a, insitu_lanes b)
{
    return _mm256_add_epi32(a, b);
}

#define INSITU_GROUP 2u /* factors of bytes that are multiplied at once */

INSITU_INLINE insitu_lanes add_pairs(insitu_lanes sums, insitu_lanes right, insitu_lanes left)
{
    return _mm256_add_epi32(sums, _mm256_madd_epi16(right, left));
}

#endif
