/* SPDX-License-Identifier: Apache-2.0 */
/* The gradient of a bias. */
#include "internal.h"

int64_t insitu_channel_sum(const insitu_array *d, uint32_t batch, uint32_t channels, uint32_t inner, uint32_t channel)
{
    uint32_t b, i;
    int64_t sum = 0;

#if defined(INSITU_AVX2)
    uint32_t some, j;
    int32_t block[INSITU_BLOCK], part;

    for (b = 0; b < batch; b++)
        for (i = 0; i < inner; i += some) {
            some = inner - i < INSITU_BLOCK ? inner - i : INSITU_BLOCK;
            insitu_get_many(d, (b * channels + channel) * inner + i, some, block);
            if (d->bits > 16u) {
                for (j = 0; j < some; j++)
                    sum += block[j];
                continue;
            }
            for (j = 0, part = 0; j < some; j++)
                part += block[j];
            sum += part;
        }
#else
    for (b = 0; b < batch; b++)
        for (i = 0; i < inner; i++)
            sum += insitu_get(d, (b * channels + channel) * inner + i);
#endif
    return sum;
}

void insitu_sum_to_channels(const insitu_array *d, const insitu_array *g, uint32_t batch, uint32_t channels,
                            uint32_t inner, const insitu_fit *end, const insitu_clock *clock)
{
    uint32_t c;

    for (c = 0; c < channels; c++)
        insitu_set(g, c, insitu_fitted(insitu_channel_sum(d, batch, channels, inner, c), end, clock, c));
}
