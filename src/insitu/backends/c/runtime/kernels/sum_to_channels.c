/* SPDX-License-Identifier: Apache-2.0 */
/* The gradient of a bias. */
#include "internal.h"

int64_t insitu_channel_sum(const insitu_array *d, uint32_t batch, uint32_t channels, uint32_t inner, uint32_t channel)
{
    uint32_t b, i;
    int64_t sum = 0;

    for (b = 0; b < batch; b++)
        for (i = 0; i < inner; i++)
            sum += insitu_get(d, (b * channels + channel) * inner + i);
    return sum;
}

void insitu_sum_to_channels(const insitu_array *d, const insitu_array *g, uint32_t batch, uint32_t channels,
                            uint32_t inner, const insitu_fit *end, const insitu_clock *clock)
{
    uint32_t c;

    for (c = 0; c < channels; c++)
        insitu_set(g, c, insitu_fitted(insitu_channel_sum(d, batch, channels, inner, c), end, clock, c));
}
