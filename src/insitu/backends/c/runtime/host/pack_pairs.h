/* SPDX-License-Identifier: Apache-2.0 */
/* Groups of two words of 16 bits, made from bytes with AVX2. */
#ifndef INSITU_PACK_PAIRS_H
#define INSITU_PACK_PAIRS_H

INSITU_INLINE __m256i pairs_of(__m128i bytes, uint8_t is_signed)
{
    return is_signed ? _mm256_cvtepi8_epi16(bytes) : _mm256_cvtepu8_epi16(bytes);
}

INSITU_INLINE __m128i load_16(const uint8_t *p)
{
    return _mm_loadu_si128((const __m128i *)(const void *)p);
}

/* Bytes at + 0 to at + 15 of two rows, side by side. */
INSITU_INLINE void interleave_pairs(const uint8_t *const rows[2], uint32_t at, uint8_t is_signed, uint32_t *to)
{
    const __m128i a = load_16(rows[0] + at), b = load_16(rows[1] + at);

    _mm256_storeu_si256((__m256i *)(void *)to, pairs_of(_mm_unpacklo_epi8(a, b), is_signed));
    _mm256_storeu_si256((__m256i *)(void *)(to + 8), pairs_of(_mm_unpackhi_epi8(a, b), is_signed));
}

/* Eight pairs of eight rows, which lie `pitch` bytes apart: to[g] has pair g of all rows. */
INSITU_INLINE void transpose_pairs(const uint8_t *row, size_t pitch, uint8_t is_signed, __m256i to[8])
{
    __m128i a[8], b[8];
    uint32_t i;

    for (i = 0; i < 8u; i += 2u) {
        const __m128i even = load_16(row + i * pitch), odd = load_16(row + (i + 1u) * pitch);

        a[i] = _mm_unpacklo_epi16(even, odd);
        a[i + 1u] = _mm_unpackhi_epi16(even, odd);
    }
    for (i = 0; i < 8u; i += 4u) { /* of four rows: groups 0 1, 2 3, 4 5, 6 7 */
        b[i] = _mm_unpacklo_epi32(a[i], a[i + 2u]);
        b[i + 1u] = _mm_unpackhi_epi32(a[i], a[i + 2u]);
        b[i + 2u] = _mm_unpacklo_epi32(a[i + 1u], a[i + 3u]);
        b[i + 3u] = _mm_unpackhi_epi32(a[i + 1u], a[i + 3u]);
    }
    for (i = 0; i < 4u; i++) {
        to[2u * i] = pairs_of(_mm_unpacklo_epi64(b[i], b[i + 4u]), is_signed);
        to[2u * i + 1u] = pairs_of(_mm_unpackhi_epi64(b[i], b[i + 4u]), is_signed);
    }
}

#endif
