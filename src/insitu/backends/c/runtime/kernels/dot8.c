/* SPDX-License-Identifier: Apache-2.0 */
/* Products of rows of bytes, with the instructions that a core has for them. */
#include "internal.h"

#if defined(INSITU_DSP)

/* The first and third byte of a word as two 16-bit integers; the second and fourth. */
INSITU_INLINE uint32_t even(uint32_t word, uint8_t is_signed)
{
    uint32_t out;

    if (is_signed)
        __asm__("sxtb16 %0, %1" : "=r"(out) : "r"(word));
    else
        __asm__("uxtb16 %0, %1" : "=r"(out) : "r"(word));
    return out;
}

INSITU_INLINE uint32_t odd(uint32_t word, uint8_t is_signed)
{
    uint32_t out;

    if (is_signed)
        __asm__("sxtb16 %0, %1, ror #8" : "=r"(out) : "r"(word));
    else
        __asm__("uxtb16 %0, %1, ror #8" : "=r"(out) : "r"(word));
    return out;
}

/* sum + the two products of 16-bit integers */
INSITU_INLINE int32_t pairs(uint32_t x, uint32_t w, int32_t sum)
{
    int32_t out;

    __asm__("smlad %0, %1, %2, %3" : "=r"(out) : "r"(x), "r"(w), "r"(sum));
    return out;
}

INSITU_INLINE int32_t one(const uint8_t *x, const uint8_t *w, uint32_t n, uint8_t is_signed, int32_t sum)
{
    const uint8_t *wide = x + (n & ~7u), *narrow = x + (n & ~3u), *end = x + n;

    while (x != wide) {
        uint32_t a = insitu_load32(x), b = insitu_load32(w);

        sum = pairs(even(a, is_signed), even(b, 1), sum);
        sum = pairs(odd(a, is_signed), odd(b, 1), sum);
        a = insitu_load32(x + 4);
        b = insitu_load32(w + 4);
        sum = pairs(even(a, is_signed), even(b, 1), sum);
        sum = pairs(odd(a, is_signed), odd(b, 1), sum);
        x += 8;
        w += 8;
    }
    if (x != narrow) {
        uint32_t a = insitu_load32(x), b = insitu_load32(w);

        sum = pairs(even(a, is_signed), even(b, 1), sum);
        sum = pairs(odd(a, is_signed), odd(b, 1), sum);
        x += 4;
        w += 4;
    }
    while (x != end)
        sum += insitu_byte(x++, 0, is_signed) * (int8_t)*w++;
    return sum;
}

/* Four bytes of x and of two rows: 13 instructions for 8 products; the pointers move on. */
#define ADD_WORD(extend)                                                                                              \
    __asm__("ldr %[a], [%[x]], #4\n\tldr %[b], [%[w]], #4\n\tldr %[c], [%[v]], #4\n\t" extend                           \
            " %[e], %[a]\n\t" extend " %[a], %[a], ror #8\n\t"                                                        \
            "sxtb16 %[f], %[b]\n\tsmlad %[s], %[e], %[f], %[s]\n\t"                                                   \
            "sxtb16 %[b], %[b], ror #8\n\tsmlad %[s], %[a], %[b], %[s]\n\t"                                           \
            "sxtb16 %[f], %[c]\n\tsmlad %[t], %[e], %[f], %[t]\n\t"                                                   \
            "sxtb16 %[c], %[c], ror #8\n\tsmlad %[t], %[a], %[c], %[t]"                                               \
            : [x] "+r"(x), [w] "+r"(w), [v] "+r"(v), [s] "+r"(sum), [t] "+r"(more), [a] "=&r"(a), [b] "=&r"(b),        \
              [c] "=&r"(c), [e] "=&r"(e), [f] "=&r"(f)                                                                \
            :                                                                                                         \
            : "memory")

/* Two rows share the bytes of x. */
INSITU_INLINE void two(const uint8_t *x, const uint8_t *w, uint32_t pitch, uint32_t n, uint8_t is_signed, int32_t *out)
{
    const uint8_t *v = w + pitch, *wide = x + (n & ~15u), *narrow = x + (n & ~3u), *end = x + n;
    int32_t sum = 0, more = 0;
    uint32_t a, b, c, e, f;

    if (is_signed) {
        while (x != wide) {
            ADD_WORD("sxtb16");
            ADD_WORD("sxtb16");
            ADD_WORD("sxtb16");
            ADD_WORD("sxtb16");
        }
        while (x != narrow)
            ADD_WORD("sxtb16");
    } else {
        while (x != wide) {
            ADD_WORD("uxtb16");
            ADD_WORD("uxtb16");
            ADD_WORD("uxtb16");
            ADD_WORD("uxtb16");
        }
        while (x != narrow)
            ADD_WORD("uxtb16");
    }
    while (x != end) {
        int32_t last = insitu_byte(x++, 0, is_signed);

        sum += last * (int8_t)*w++;
        more += last * (int8_t)*v++;
    }
    out[0] = sum;
    out[1] = more;
}

INSITU_INLINE void four(const uint8_t *x, const uint8_t *w, uint32_t pitch, uint32_t n, uint8_t is_signed, int32_t *out)
{
    two(x, w, pitch, n, is_signed, out);
    two(x, w + 2u * pitch, pitch, n, is_signed, out + 2);
}

#elif defined(INSITU_AVX2)

#include <immintrin.h>

INSITU_INLINE int32_t total(__m256i v)
{
    __m128i s = _mm_add_epi32(_mm256_castsi256_si128(v), _mm256_extracti128_si256(v, 1));

    s = _mm_add_epi32(s, _mm_shuffle_epi32(s, 0x4E));
    s = _mm_add_epi32(s, _mm_shuffle_epi32(s, 0xB1));
    return _mm_cvtsi128_si32(s);
}

INSITU_INLINE __m256i wide(__m128i bytes, uint8_t is_signed)
{
    return is_signed ? _mm256_cvtepi8_epi16(bytes) : _mm256_cvtepu8_epi16(bytes);
}

INSITU_INLINE __m128i sixteen(const uint8_t *p)
{
    return _mm_loadu_si128((const __m128i *)(const void *)p);
}

INSITU_INLINE __m128i eight(const uint8_t *p)
{
    return _mm_loadl_epi64((const __m128i *)(const void *)p);
}

#if defined(INSITU_AVX512)

/* The instruction multiplies bytes without a sign by bytes with one: where x has one, w + 128 by x, less 128 x. */
INSITU_INLINE __m256i products(__m256i sums, __m256i x, __m256i w, uint8_t is_signed)
{
    if (is_signed)
        return _mm256_dpbusd_epi32(sums, _mm256_xor_si256(w, _mm256_set1_epi8(-128)), x);
    return _mm256_dpbusd_epi32(sums, x, w);
}

/* Columns from i on: 32, or those that are left. Rows start anywhere: of loads of 64 bytes most would cross a line. */
INSITU_INLINE __m256i many(const uint8_t *p, uint32_t i, uint32_t n)
{
    if (i < (n & ~31u))
        return _mm256_loadu_si256((const __m256i *)(const void *)(p + i));
    return _mm256_maskz_loadu_epi8(((__mmask32)1 << (n - i)) - 1u, p + i);
}

/* Sums modulo 2^32 on the way. */
INSITU_INLINE int32_t one(const uint8_t *x, const uint8_t *w, uint32_t n, uint8_t is_signed, int32_t sum)
{
    __m256i s = _mm256_setzero_si256(), less = s, a;
    uint32_t i;

    for (i = 0; i < n; i += 32u) {
        a = many(x, i, n);
        s = products(s, a, many(w, i, n), is_signed);
        if (is_signed)
            less = _mm256_dpbusd_epi32(less, _mm256_set1_epi8(-128), a);
    }
    return sum + total(_mm256_sub_epi32(s, less));
}

INSITU_INLINE void four(const uint8_t *x, const uint8_t *w, uint32_t pitch, uint32_t n, uint8_t is_signed, int32_t *out)
{
    const uint8_t *w1 = w + pitch, *w2 = w1 + pitch, *w3 = w2 + pitch;
    __m256i s0 = _mm256_setzero_si256(), s1 = s0, s2 = s0, s3 = s0, less = s0, a;
    uint32_t i, whole = n & ~31u;

    for (i = 0; i < whole; i += 32u) {
        a = many(x, i, n);
        if (_mm256_testz_si256(a, a)) /* no weights are read */
            continue;
        s0 = products(s0, a, many(w, i, n), is_signed);
        s1 = products(s1, a, many(w1, i, n), is_signed);
        s2 = products(s2, a, many(w2, i, n), is_signed);
        s3 = products(s3, a, many(w3, i, n), is_signed);
        if (is_signed)
            less = _mm256_dpbusd_epi32(less, _mm256_set1_epi8(-128), a);
    }
    if (i < n) {
        a = many(x, i, n);
        s0 = products(s0, a, many(w, i, n), is_signed);
        s1 = products(s1, a, many(w1, i, n), is_signed);
        s2 = products(s2, a, many(w2, i, n), is_signed);
        s3 = products(s3, a, many(w3, i, n), is_signed);
        if (is_signed)
            less = _mm256_dpbusd_epi32(less, _mm256_set1_epi8(-128), a);
    }
    s0 = _mm256_hadd_epi32(_mm256_sub_epi32(s0, less), _mm256_sub_epi32(s1, less));
    s2 = _mm256_hadd_epi32(_mm256_sub_epi32(s2, less), _mm256_sub_epi32(s3, less));
    s0 = _mm256_hadd_epi32(s0, s2);
    _mm_storeu_si128((__m128i *)(void *)out, _mm_add_epi32(_mm256_castsi256_si128(s0), _mm256_extracti128_si256(s0, 1)));
}

#else

INSITU_INLINE int32_t one(const uint8_t *x, const uint8_t *w, uint32_t n, uint8_t is_signed, int32_t sum)
{
    __m256i sums = _mm256_setzero_si256(), more = sums;
    uint32_t i = 0;

    for (; i + 32u <= n; i += 32u) {
        sums = _mm256_add_epi32(sums, _mm256_madd_epi16(wide(sixteen(x + i), is_signed), wide(sixteen(w + i), 1)));
        more = _mm256_add_epi32(more,
                                _mm256_madd_epi16(wide(sixteen(x + i + 16), is_signed), wide(sixteen(w + i + 16), 1)));
    }
    if (i + 16u <= n) {
        sums = _mm256_add_epi32(sums, _mm256_madd_epi16(wide(sixteen(x + i), is_signed), wide(sixteen(w + i), 1)));
        i += 16u;
    }
    if (i + 8u <= n) {
        more = _mm256_add_epi32(more, _mm256_madd_epi16(wide(eight(x + i), is_signed), wide(eight(w + i), 1)));
        i += 8u;
    }
    sum += total(_mm256_add_epi32(sums, more));
    for (; i < n; i++)
        sum += insitu_byte(x, i, is_signed) * (int8_t)w[i];
    return sum;
}

INSITU_INLINE void four(const uint8_t *x, const uint8_t *w, uint32_t pitch, uint32_t n, uint8_t is_signed, int32_t *out)
{
    const uint8_t *w1 = w + pitch, *w2 = w1 + pitch, *w3 = w2 + pitch;
    __m256i s0 = _mm256_setzero_si256(), s1 = s0, s2 = s0, s3 = s0, a;
    uint32_t i = 0, j;

    for (; i + 16u <= n; i += 16u) {
        a = wide(sixteen(x + i), is_signed);
        s0 = _mm256_add_epi32(s0, _mm256_madd_epi16(a, wide(sixteen(w + i), 1)));
        s1 = _mm256_add_epi32(s1, _mm256_madd_epi16(a, wide(sixteen(w1 + i), 1)));
        s2 = _mm256_add_epi32(s2, _mm256_madd_epi16(a, wide(sixteen(w2 + i), 1)));
        s3 = _mm256_add_epi32(s3, _mm256_madd_epi16(a, wide(sixteen(w3 + i), 1)));
    }
    if (i + 8u <= n) {
        a = wide(eight(x + i), is_signed);
        s0 = _mm256_add_epi32(s0, _mm256_madd_epi16(a, wide(eight(w + i), 1)));
        s1 = _mm256_add_epi32(s1, _mm256_madd_epi16(a, wide(eight(w1 + i), 1)));
        s2 = _mm256_add_epi32(s2, _mm256_madd_epi16(a, wide(eight(w2 + i), 1)));
        s3 = _mm256_add_epi32(s3, _mm256_madd_epi16(a, wide(eight(w3 + i), 1)));
        i += 8u;
    }
    out[0] = total(s0);
    out[1] = total(s1);
    out[2] = total(s2);
    out[3] = total(s3);
    for (; i < n; i++)
        for (j = 0; j < 4u; j++)
            out[j] += insitu_byte(x, i, is_signed) * (int8_t)w[i + j * pitch];
}

#endif

/* Products of 16 columns of two rows and their errors. */
INSITU_INLINE void add_pair(__m256i *low, __m256i *high, __m128i a, __m128i b, __m256i d, uint8_t is_signed)
{
    *low = _mm256_add_epi32(*low, _mm256_madd_epi16(wide(_mm_unpacklo_epi8(a, b), is_signed), d));
    *high = _mm256_add_epi32(*high, _mm256_madd_epi16(wide(_mm_unpackhi_epi8(a, b), is_signed), d));
}

INSITU_INLINE __m256i factors(int32_t first, int32_t second)
{
    return _mm256_set1_epi32((int32_t)((uint32_t)second << 16 | ((uint32_t)first & 0xFFFFu)));
}

/* out += the products of four rows. */
INSITU_INLINE void add_four(const uint8_t *const *w, const int32_t *d, uint32_t count, uint8_t is_signed, int32_t *out)
{
    __m256i first = factors(d[0], d[1]), second = factors(d[2], d[3]);
    uint32_t i = 0;

    for (; i + 16u <= count; i += 16u) {
        __m256i *to = (__m256i *)(void *)(out + i);
        __m256i low = _mm256_loadu_si256(to), high = _mm256_loadu_si256(to + 1);

        add_pair(&low, &high, sixteen(w[0] + i), sixteen(w[1] + i), first, is_signed);
        add_pair(&low, &high, sixteen(w[2] + i), sixteen(w[3] + i), second, is_signed);
        _mm256_storeu_si256(to, low);
        _mm256_storeu_si256(to + 1, high);
    }
    for (; i < count; i++)
        out[i] += d[0] * insitu_byte(w[0], i, is_signed) + d[1] * insitu_byte(w[1], i, is_signed) +
                  d[2] * insitu_byte(w[2], i, is_signed) + d[3] * insitu_byte(w[3], i, is_signed);
}

INSITU_INLINE void combine(const uint8_t *d, uint32_t step, uint8_t d_signed, const uint8_t *w, uint32_t pitch,
                           uint8_t w_signed, uint32_t rows, uint32_t count, int32_t *out)
{
    const uint8_t *at[4] = {w, w, w, w};
    int32_t error[4];
    uint32_t i, some = 0;

    for (i = 0; i < count; i++)
        out[i] = 0;
    for (i = 0; i < rows; i++, d += step, w += pitch) {
        if (*d != 0u) {
            at[some] = w;
            error[some++] = insitu_byte(d, 0, d_signed);
        }
        if (some == 0u || (some < 4u && i + 1u < rows))
            continue;
        for (; some < 4u; some++) {
            at[some] = at[0];
            error[some] = 0;
        }
        add_four(at, error, count, w_signed, out);
        some = 0;
    }
}

#else

INSITU_INLINE int32_t one(const uint8_t *x, const uint8_t *w, uint32_t n, uint8_t is_signed, int32_t sum)
{
    uint32_t i;

    for (i = 0; i < n; i++)
        sum += insitu_byte(x, i, is_signed) * (int8_t)w[i];
    return sum;
}

INSITU_INLINE void four(const uint8_t *x, const uint8_t *w, uint32_t pitch, uint32_t n, uint8_t is_signed, int32_t *out)
{
    const uint8_t *v = w + pitch;
    int32_t sum, more;
    uint32_t i, j;

    for (j = 0; j < 4u; j += 2u, w += 2u * pitch, v += 2u * pitch) {
        sum = more = 0;
        for (i = 0; i < n; i++) {
            int32_t a = insitu_byte(x, i, is_signed);

            sum += a * (int8_t)w[i];
            more += a * (int8_t)v[i];
        }
        out[j] = sum;
        out[j + 1u] = more;
    }
}

#endif

int32_t insitu_dot8(const uint8_t *x, const uint8_t *w, uint32_t n, uint8_t x_signed)
{
    return x_signed ? one(x, w, n, 1, 0) : one(x, w, n, 0, 0);
}

void insitu_dot8_four(const uint8_t *x, const uint8_t *w, uint32_t pitch, uint32_t n, uint8_t x_signed, int32_t out[4])
{
    if (x_signed)
        four(x, w, pitch, n, 1, out);
    else
        four(x, w, pitch, n, 0, out);
}

int32_t insitu_dot8_rows(const uint8_t *x, uint32_t x_pitch, const uint8_t *w, uint32_t w_pitch, uint32_t rows,
                         uint32_t n, uint8_t x_signed)
{
    int32_t sum = 0;

    if (x_signed)
        for (; rows > 0u; rows--, x += x_pitch, w += w_pitch)
            sum = one(x, w, n, 1, sum);
    else
        for (; rows > 0u; rows--, x += x_pitch, w += w_pitch)
            sum = one(x, w, n, 0, sum);
    return sum;
}

#if !defined(INSITU_AVX2)

/* Four columns. */
INSITU_INLINE void combine_four(const uint8_t *d, uint32_t step, uint8_t d_signed, const uint8_t *w, uint32_t pitch,
                                uint8_t w_signed, uint32_t rows, int32_t *out)
{
    int32_t s0 = 0, s1 = 0, s2 = 0, s3 = 0;

    int32_t sign = d_signed ? 128 : 0;

    for (; rows > 0u; rows--, d += step, w += pitch) {
        int32_t error = (*d ^ sign) - sign;

        if (error == 0)
            continue;
#if defined(INSITU_DSP)
        {
            uint32_t word = insitu_load32(w), a = even(word, w_signed), b = odd(word, w_signed);

            __asm__("smlabb %0, %1, %2, %0" : "+r"(s0) : "r"(a), "r"(error));
            __asm__("smlabb %0, %1, %2, %0" : "+r"(s1) : "r"(b), "r"(error));
            __asm__("smlatb %0, %1, %2, %0" : "+r"(s2) : "r"(a), "r"(error));
            __asm__("smlatb %0, %1, %2, %0" : "+r"(s3) : "r"(b), "r"(error));
        }
#else
        s0 += error * insitu_byte(w, 0, w_signed);
        s1 += error * insitu_byte(w, 1, w_signed);
        s2 += error * insitu_byte(w, 2, w_signed);
        s3 += error * insitu_byte(w, 3, w_signed);
#endif
    }
    out[0] = s0;
    out[1] = s1;
    out[2] = s2;
    out[3] = s3;
}

INSITU_INLINE void combine(const uint8_t *d, uint32_t step, uint8_t d_signed, const uint8_t *w, uint32_t pitch,
                           uint8_t w_signed, uint32_t rows, uint32_t count, int32_t *out)
{
    uint32_t i = 0, o;

    for (; i + 4u <= count; i += 4u)
        combine_four(d, step, d_signed, w + i, pitch, w_signed, rows, out + i);
    for (; i < count; i++) {
        out[i] = 0;
        for (o = 0; o < rows; o++)
            out[i] += insitu_byte(d, o * step, d_signed) * insitu_byte(w, o * pitch + i, w_signed);
    }
}

#endif

void insitu_combine(const uint8_t *d, uint32_t step, uint8_t d_signed, const uint8_t *w, uint32_t pitch,
                    uint8_t w_signed, uint32_t rows, uint32_t count, int32_t *out)
{
    if (w_signed)
        combine(d, step, d_signed, w, pitch, 1, rows, count, out);
    else
        combine(d, step, d_signed, w, pitch, 0, rows, count, out);
}
