/* SPDX-License-Identifier: Apache-2.0
 *
 * Products of matrices of bytes on a host: what an instruction set gives, one set a file, chosen here.
 *
 * A group is 32 bits: neighbours of the reduction, a pair of 16-bit words or, with VNNI, four bytes, that one instruction
 * multiplies and adds. Of the right operand the instruction for bytes takes those without a sign: signed ones lie 128
 * higher there, and a sum starts at what that adds, the other way round.
 */
#ifndef INSITU_LANES_H
#define INSITU_LANES_H

#include <immintrin.h>

#include "internal.h"

#include "pack_pairs.h"
#if defined(INSITU_VNNI) || defined(INSITU_VNNI_EMULATED)
#include "lanes_vnni.h"
#elif defined(INSITU_AVX512)
#include "lanes_avx512.h"
#else
#include "lanes_avx2.h"
#endif

#define INSITU_WIDTH (2u * INSITU_LANES) /* columns of a tile */

#endif
