/* SPDX-License-Identifier: Apache-2.0 */
/* Lanes with AVX-512 F, BW and VL: twice those of AVX2. */
#ifndef INSITU_LANES_AVX512_H
#define INSITU_LANES_AVX512_H

#include "lanes512.h"

#define INSITU_GROUP 2u /* factors of bytes that are multiplied at once */

INSITU_INLINE insitu_lanes add_pairs(insitu_lanes sums, insitu_lanes right, insitu_lanes left)
{
    return _mm512_add_epi32(sums, _mm512_madd_epi16(right, left));
}

#endif
