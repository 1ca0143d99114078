/* SPDX-License-Identifier: Apache-2.0 */
/* Errors of bytes through a gate, with AVX2. */
#ifndef INSITU_GATE_AVX2_H
#define INSITU_GATE_AVX2_H

#include <immintrin.h>

/* to = from where open, an unsigned byte, is not 0; `to` may be one of the others. Returns how many are done. */
static uint32_t gate_bytes(const uint8_t *from, const uint8_t *open, uint8_t *to, uint32_t count)
{
    uint32_t i;

    for (i = 0; i + 32u <= count; i += 32u) {
        const __m256i d = _mm256_loadu_si256((const __m256i *)(const void *)(from + i));
        const __m256i y = _mm256_loadu_si256((const __m256i *)(const void *)(open + i));

        _mm256_storeu_si256((__m256i *)(void *)(to + i), _mm256_andnot_si256(_mm256_cmpeq_epi8(y, _mm256_setzero_si256()), d));
    }
    return i;
}

#endif
