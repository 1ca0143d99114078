/* SPDX-License-Identifier: Apache-2.0 */
/* Random words: by a counter, or by a shift register. */
#include "internal.h"

uint32_t insitu_mix(uint32_t x)
{
    x = (x ^ x >> 16) * 0x7FEB352Du;
    x = (x ^ x >> 15) * 0x846CA68Bu;
    return x ^ x >> 16;
}

uint32_t insitu_key(uint32_t seed, uint32_t stream, uint32_t t)
{
    return insitu_mix(insitu_mix(seed ^ stream) + t * 0x9E3779B9u);
}

uint32_t insitu_word(uint32_t key, uint32_t index)
{
    return insitu_mix(insitu_mix(index + key) ^ insitu_salt(key));
}

/* The next word. */
uint32_t insitu_lfsr(uint32_t s)
{
    s = s << 16 | ((s >> 16 ^ s >> 14 ^ s >> 10 ^ s >> 9) & 0xFFFFu);
    return s << 16 | ((s >> 16 ^ s >> 14 ^ s >> 10 ^ s >> 9) & 0xFFFFu);
}

int32_t insitu_feedback(uint32_t word, int32_t reach)
{
    return insitu_feedback_of(word, reach);
}
