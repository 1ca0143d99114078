/* SPDX-License-Identifier: Apache-2.0 */
/* What the forms for AVX-512 share. */
#ifndef INSITU_LANES512_H
#define INSITU_LANES512_H

#define INSITU_LANES 16u
#define INSITU_ROWS 8u /* of a tile: 16 sums of 32 registers */

typedef __m512i insitu_lanes;

INSITU_INLINE insitu_lanes lanes_of(uint32_t x)
{
    return _mm512_set1_epi32((int32_t)x);
}

INSITU_INLINE insitu_lanes load_lanes(const void *p)
{
    return _mm512_loadu_si512(p);
}

/* The first `count`; 0 in the others. */
INSITU_INLINE insitu_lanes load_some_lanes(const void *p, uint32_t count)
{
    const uint32_t some = count < 16u ? (1u << count) - 1u : 0xFFFFu;

    return _mm512_maskz_loadu_epi32(_cvtu32_mask16(some), p);
}

INSITU_INLINE void store_lanes(void *p, insitu_lanes x)
{
    _mm512_storeu_si512(p, x);
}

INSITU_INLINE insitu_lanes add_lanes(insitu_lanes a, insitu_lanes b)
{
    return _mm512_add_epi32(a, b);
}

#endif
