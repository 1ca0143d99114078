/* SPDX-License-Identifier: Apache-2.0 */
/* Lanes with AVX-512 VNNI: four products of bytes an instruction. */
#ifndef INSITU_LANES_VNNI_H
#define INSITU_LANES_VNNI_H

#include "lanes512.h"
#include "pack_fours.h"

#define INSITU_GROUP 4u /* factors of bytes that are multiplied at once */

#if defined(INSITU_VNNI_EMULATED)
/* The same bits with AVX-512 BW, so that a machine without VNNI tests all else. */
INSITU_INLINE __m512i dpbusd(__m512i sums, __m512i x, __m512i w)
{
    const __m512i x_even = _mm512_and_si512(x, _mm512_set1_epi16(0xFF)), x_odd = _mm512_srli_epi16(x, 8);
    const __m512i w_even = _mm512_srai_epi16(_mm512_slli_epi16(w, 8), 8), w_odd = _mm512_srai_epi16(w, 8);

    return _mm512_add_epi32(sums, _mm512_add_epi32(_mm512_madd_epi16(x_even, w_even), _mm512_madd_epi16(x_odd, w_odd)));
}

INSITU_INLINE __m512i dpwssd(__m512i sums, __m512i x, __m512i w)
{
    return _mm512_add_epi32(sums, _mm512_madd_epi16(x, w));
}
#else
#define dpbusd _mm512_dpbusd_epi32
#define dpwssd _mm512_dpwssd_epi32
#endif

INSITU_INLINE insitu_lanes add_pairs(insitu_lanes sums, insitu_lanes right, insitu_lanes left)
{
    return dpwssd(sums, right, left);
}

INSITU_INLINE insitu_lanes add_fours(insitu_lanes sums, insitu_lanes right, insitu_lanes left)
{
    return dpbusd(sums, right, left);
}

#endif
