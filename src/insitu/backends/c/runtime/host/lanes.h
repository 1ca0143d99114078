/* SPDX-License-Identifier: Apache-2.0
 *
 * Products of matrices of bytes on a host: what an instruction set gives, one set a file, chosen here.
 *
 * A group is 32 bits: neighbours of the reduction, two words of 16 bits or four bytes, that one instruction multiplies and
 * adds. Of the right operand the instructions with bytes take those without a sign: signed ones lie 128 higher there, and
 * a sum starts at what that adds, INSITU_LIFT times the sum of the left row, the other way round.
 */
#ifndef INSITU_LANES_H
#define INSITU_LANES_H

#include <immintrin.h>

#include "internal.h"

#if defined(INSITU_VNNI) || defined(INSITU_VNNI_EMULATED)
#include "lanes_vnni.h"
#elif defined(INSITU_AVX512)
#include "lanes_avx512.h"
#else
#include "lanes_avx2.h"
#endif

#define INSITU_WIDTH (2u * INSITU_LANES) /* columns of a tile */

#endif
