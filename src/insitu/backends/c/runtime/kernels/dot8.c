/* SPDX-License-Identifier: Apache-2.0 */
/* Products of rows of bytes: the portable form, or that of an instruction set, which is a file of its own. */
#include "internal.h"

#if defined(INSITU_AVX2)
#include "dot8_avx2.h"
#elif defined(INSITU_HELIUM)
#include "dot8_helium.h"
#elif defined(INSITU_DSP)
#include "dot8_dsp.h"
#else

INSITU_INLINE int32_t dot_1row(const uint8_t *x, const uint8_t *w, uint32_t n, uint8_t is_signed, int32_t sum)
{
    uint32_t i;

    for (i = 0; i < n; i++)
        sum += insitu_byte(x, i, is_signed) * (int8_t)w[i];
    return sum;
}

INSITU_INLINE void dot_4rows(const uint8_t *x, const uint8_t *w, uint32_t pitch, uint32_t n, uint8_t is_signed,
                             int32_t *out)
{
    const uint8_t *v = w + pitch;
    int32_t sum, more;
    uint32_t i, j;

    for (j = 0; j < 4u; j += 2u, w += 2u * pitch, v += 2u * pitch) {
        sum = 0;
        more = 0;
        for (i = 0; i < n; i++) {
            int32_t a = insitu_byte(x, i, is_signed);

            sum += a * (int8_t)w[i];
            more += a * (int8_t)v[i];
        }
        out[j] = sum;
        out[j + 1u] = more;
    }
}

/* sums_j += error w_j */
INSITU_INLINE void add_products_of_4columns(const uint8_t *w, uint8_t w_signed, int32_t error, int32_t sums[4])
{
    sums[0] += error * insitu_byte(w, 0, w_signed);
    sums[1] += error * insitu_byte(w, 1, w_signed);
    sums[2] += error * insitu_byte(w, 2, w_signed);
    sums[3] += error * insitu_byte(w, 3, w_signed);
}

#endif

#if !defined(INSITU_AVX2)

/* Four columns. */
INSITU_INLINE void weighted_rows_4columns(const uint8_t *d, uint32_t step, uint8_t d_signed, const uint8_t *w, uint32_t pitch,
                                uint8_t w_signed, uint32_t rows, int32_t *out)
{
    int32_t sums[4] = {0, 0, 0, 0}, sign = d_signed ? 128 : 0;

    for (; rows > 0u; rows--, d += step, w += pitch) {
        int32_t error = (*d ^ sign) - sign;

        if (error == 0)
            continue;
        add_products_of_4columns(w, w_signed, error, sums);
    }
    out[0] = sums[0];
    out[1] = sums[1];
    out[2] = sums[2];
    out[3] = sums[3];
}

INSITU_INLINE void weighted_rows(const uint8_t *d, uint32_t step, uint8_t d_signed, const uint8_t *w, uint32_t pitch,
                           uint8_t w_signed, uint32_t rows, uint32_t count, int32_t *out)
{
    uint32_t i = 0, o;

    for (; i + 4u <= count; i += 4u)
        weighted_rows_4columns(d, step, d_signed, w + i, pitch, w_signed, rows, out + i);
    for (; i < count; i++) {
        out[i] = 0;
        for (o = 0; o < rows; o++)
            out[i] += insitu_byte(d, o * step, d_signed) * insitu_byte(w, o * pitch + i, w_signed);
    }
}

#endif

int32_t insitu_dot8(const uint8_t *x, const uint8_t *w, uint32_t n, uint8_t x_signed)
{
    return x_signed ? dot_1row(x, w, n, 1, 0) : dot_1row(x, w, n, 0, 0);
}

void insitu_dot8_4rows(const uint8_t *x, const uint8_t *w, uint32_t pitch, uint32_t n, uint8_t x_signed, int32_t out[4])
{
    if (x_signed)
        dot_4rows(x, w, pitch, n, 1, out);
    else
        dot_4rows(x, w, pitch, n, 0, out);
}

int32_t insitu_dot8_rows(const uint8_t *x, uint32_t x_pitch, const uint8_t *w, uint32_t w_pitch, uint32_t rows,
                         uint32_t n, uint8_t x_signed)
{
    int32_t sum = 0;

    if (x_signed)
        for (; rows > 0u; rows--, x += x_pitch, w += w_pitch)
            sum = dot_1row(x, w, n, 1, sum);
    else
        for (; rows > 0u; rows--, x += x_pitch, w += w_pitch)
            sum = dot_1row(x, w, n, 0, sum);
    return sum;
}

void insitu_weighted_rows(const uint8_t *d, uint32_t step, uint8_t d_signed, const uint8_t *w, uint32_t pitch,
                    uint8_t w_signed, uint32_t rows, uint32_t count, int32_t *out)
{
    if (w_signed)
        weighted_rows(d, step, d_signed, w, pitch, 1, rows, count, out);
    else
        weighted_rows(d, step, d_signed, w, pitch, 0, rows, count, out);
}
