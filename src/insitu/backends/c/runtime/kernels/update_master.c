/* SPDX-License-Identifier: Apache-2.0 */
/* How a real weight moves by its gradient: float32, one rounding per operation. Each result has a variable of its own,
   for a compiler may keep what is between two operations wider than float. */
#include "internal.h"

/* 2^e as a float, e in what normal numbers reach. */
static float power_of_two(int32_t e)
{
    union {
        uint32_t bits;
        float real;
    } u;

    u.bits = (uint32_t)(127 + insitu_clip(e, -126, 127)) << 23;
    return u.real;
}

float insitu_scaled_real(float x, int32_t e)
{
    float scaled = x * power_of_two(e);

    return scaled;
}

/* A real to the nearest float16, ties to even. */
static float to_half(float x)
{
    union {
        uint32_t bits;
        float real;
    } u;
    uint32_t sign, size, unit, low;

    u.real = x;
    sign = u.bits & 0x80000000u;
    size = u.bits & 0x7FFFFFFFu;
    if (size >= 0x7F800000u) /* no number, or infinite */
        return x;
    if (size < 0x33000000u) { /* below half of the least, 2^-24 */
        size = 0;
    } else {
        unit = size < 0x38800000u ? 126u - (size >> 23) : 13u; /* low bits that float16 does not hold */
        low = (uint32_t)1 << (unit - 1u);
        if (unit < 24u) {
            size += low - 1u + (size >> unit & 1u);
            size &= ~(((uint32_t)1 << unit) - 1u);
        } else { /* 2^-25 to below 2^-24: a tie goes to the even zero */
            size = size > 0x33000000u ? 0x33800000u : 0u;
        }
        if (size >= 0x47800000u) /* 2^16 */
            size = 0x7F800000u;
    }
    u.bits = sign | size;
    return u.real;
}

void insitu_master_begin(insitu_mover *m)
{
    m->unit = insitu_scaled_real(m->move->of.master.unit, -m->base); /* no rate is in its shift */
}

int64_t insitu_master_change(insitu_mover *m, uint32_t i, uint32_t j, int32_t g, uint32_t word)
{
    float w = insitu_get_real(m->w, i), whole = (float)g, real = whole * m->unit, decay, moved;

    (void)j;
    (void)word;
    if (m->move->of.master.decay != 0.0f) {
        decay = w * m->move->of.master.decay;
        real = real + decay;
    }
    moved = real * m->clock->rate;
    w = w - moved;
    if (w < -m->move->of.master.bound)
        w = -m->move->of.master.bound;
    else if (w > m->move->of.master.bound)
        w = m->move->of.master.bound;
    insitu_set_real(m->w, i, m->move->of.master.half ? to_half(w) : w);
    return 0;
}
