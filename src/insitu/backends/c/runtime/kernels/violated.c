/* SPDX-License-Identifier: Apache-2.0 */
/* Which classes come too near to the right one, by a margin that grows with the layer's output. */
#include "insitu_kernels.h"

void insitu_violated(const insitu_array *z, const insitu_array *label, const insitu_array *h,
                     const insitu_array *exponent, const insitu_array *e, uint32_t batch, uint32_t classes, int32_t shift,
                     int32_t margin, uint32_t every)
{
    const uint32_t features = h == NULL ? 0u : h->size / batch;
    const int32_t k = shift - (exponent == NULL ? 0 : insitu_get(exponent, 0));

    for (uint32_t b = 0; b < batch; b++) {
        const uint32_t hot = (uint32_t)insitu_get(label, b);
        const int64_t right = insitu_get(z, b * classes + hot);
        int64_t bound = 0, most = INT64_MIN;
        uint32_t rival = classes;
        int32_t count = 0;

        for (uint32_t i = 0; i < features; i++) {
            const int32_t v = insitu_get(h, b * features + i);
            bound += v < 0 ? -(int64_t)v : v;
        }
        bound = k >= 0 ? bound >> (k < 62 ? k : 62) : bound << (k > -31 ? -k : 31);
        bound += margin;
        for (uint32_t c = 0; c < classes; c++) {
            const int64_t score = insitu_get(z, b * classes + c);
            const int wrong = c != hot && score - right + bound > 0;

            insitu_set(e, b * classes + c, every != 0u ? wrong : 0);
            count += wrong;
            if (wrong && score > most) {
                most = score;
                rival = c;
            }
        }
        if (every == 0u && count != 0) {
            insitu_set(e, b * classes + rival, 1);
            count = 1;
        }
        insitu_set(e, b * classes + hot, -count);
    }
}
