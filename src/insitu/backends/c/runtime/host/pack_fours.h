/* SPDX-License-Identifier: Apache-2.0 */
/* Groups of four bytes, made with AVX2; signed ones lie 128 higher. */
#ifndef INSITU_PACK_FOURS_H
#define INSITU_PACK_FOURS_H

INSITU_INLINE __m128i load_lifted(const uint8_t *p, uint8_t is_signed)
{
    return _mm_xor_si128(_mm_loadu_si128((const __m128i *)(const void *)p), _mm_set1_epi8(is_signed ? -128 : 0));
}

/* Bytes at + 0 to at + 15 of four rows, side by side. */
INSITU_INLINE void interleave_fours(const uint8_t *const rows[4], uint32_t at, uint8_t is_signed, uint32_t *to)
{
    const __m128i a = load_lifted(rows[0] + at, is_signed), b = load_lifted(rows[1] + at, is_signed);
    const __m128i c = load_lifted(rows[2] + at, is_signed), d = load_lifted(rows[3] + at, is_signed);
    const __m128i ab = _mm_unpacklo_epi8(a, b), cd = _mm_unpacklo_epi8(c, d);
    const __m128i AB = _mm_unpackhi_epi8(a, b), CD = _mm_unpackhi_epi8(c, d);
    __m128i *p = (__m128i *)(void *)to;

    _mm_storeu_si128(p, _mm_unpacklo_epi16(ab, cd));
    _mm_storeu_si128(p + 1, _mm_unpackhi_epi16(ab, cd));
    _mm_storeu_si128(p + 2, _mm_unpacklo_epi16(AB, CD));
    _mm_storeu_si128(p + 3, _mm_unpackhi_epi16(AB, CD));
}

/* Four fours of eight rows, which lie `pitch` bytes apart: to[g] has four g of all rows. */
INSITU_INLINE void transpose_fours(const uint8_t *row, size_t pitch, uint8_t is_signed, __m256i to[4])
{
    __m256i a[4], b[4];
    uint32_t i;

    for (i = 0; i < 4u; i++) /* rows i and i + 4 */
        a[i] = _mm256_set_m128i(load_lifted(row + (i + 4u) * pitch, is_signed), load_lifted(row + i * pitch, is_signed));
    for (i = 0; i < 4u; i += 2u) {
        b[i] = _mm256_unpacklo_epi32(a[i], a[i + 1u]);
        b[i + 1u] = _mm256_unpackhi_epi32(a[i], a[i + 1u]);
    }
    for (i = 0; i < 2u; i++) {
        to[2u * i] = _mm256_unpacklo_epi64(b[i], b[i + 2u]);
        to[2u * i + 1u] = _mm256_unpackhi_epi64(b[i], b[i + 2u]);
    }
}

#endif
