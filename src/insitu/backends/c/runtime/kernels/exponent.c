/* SPDX-License-Identifier: Apache-2.0 */
/* How many bits the largest magnitude has too many. */
#include "internal.h"

void insitu_exponent(const insitu_array *x, const insitu_array *e, uint32_t groups, uint8_t bits, int8_t usual)
{
    const uint32_t inner = x->size / groups;
#if !defined(INSITU_AVX2)
    const int bytes = insitu_bytes(x);
    const uint8_t is_signed = x->form == INSITU_SIGNED;
#endif
    for (uint32_t g = 0; g < groups; g++) {
        uint32_t all = 0; /* as long as the largest */
        int32_t length;
#if defined(INSITU_AVX2)
        for (uint32_t i = 0; i < inner; i += INSITU_BLOCK) {
            const uint32_t count = inner - i < INSITU_BLOCK ? inner - i : INSITU_BLOCK;
            int32_t block[INSITU_BLOCK];
            insitu_get_many(x, g * inner + i, count, block);
            for (uint32_t j = 0; j < count; j++) {
                all |= block[j] < 0 ? 0u - (uint32_t)block[j] : (uint32_t)block[j];
            }
        }
#else
        for (uint32_t i = g * inner; i < (g + 1u) * inner; i++) {
            const int32_t v = bytes ? insitu_byte(x->data, i, is_signed) : insitu_get(x, i);
            all |= v < 0 ? 0u - (uint32_t)v : (uint32_t)v;
        }
#endif
        length = (int32_t)insitu_bit_length(all) - ((int32_t)bits - 1);
        insitu_set(e, g, (length > 0 ? length : 0) - usual);
    }
}
