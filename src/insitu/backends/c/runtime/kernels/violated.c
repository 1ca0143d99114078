/* SPDX-License-Identifier: Apache-2.0 */
/* Which classes come too near to the right one, by a margin that grows with the layer's output. */
#include "internal.h"

/* The score of the right class less the margin: what a rival may not exceed. */
static int64_t limit_of(const insitu_array *h, uint32_t first, uint32_t features, int32_t k, int32_t right, int32_t margin)
{
    int64_t bound = 0;

    for (uint32_t i = 0; i < features; i++) {
        const int32_t v = insitu_get(h, first + i);
        bound += v < 0 ? -(int64_t)v : v;
    }
    bound = k >= 0 ? bound >> (k < 62 ? k : 62) : bound << (k > -31 ? -k : 31);
    return right - bound - margin;
}

uint32_t insitu_violated(const insitu_array *z, const insitu_array *label, const insitu_array *h,
                         const insitu_array *exponent, const insitu_array *e, uint32_t batch, uint32_t classes,
                         int32_t shift, int32_t margin, uint32_t every, const insitu_array *shares)
{
    const uint32_t features = h == NULL ? 0u : h->size / batch;
    const int32_t k = shift - (exponent == NULL ? 0 : insitu_get(exponent, 0));
    uint32_t fired = 0;

    insitu_clear(e);
    for (uint32_t b = 0; b < batch; b++) {
        const uint32_t first = b * classes, hot = first + (uint32_t)insitu_get(label, b);
        uint32_t rival = hot == first ? first + 1u : first;
        int32_t right = 0, most = INT32_MIN, count = 0;
        int64_t limit;

        for (uint32_t c = first; c < first + classes; c++) {
            const int32_t score = insitu_get(z, c);
            if (c == hot) {
                right = score;
            } else if (score > most) {
                most = score;
                rival = c;
            }
        }
        limit = limit_of(h, b * features, features, k, right, margin);
        if (classes < 2u || most <= limit) {
            continue;
        }
        if (every == 0u) {
            insitu_set(e, rival, ++count);
        }
        for (uint32_t c = first; every != 0u && c < first + classes; c++) {
            if (c != hot && insitu_get(z, c) > limit) {
                insitu_set(e, c, 1);
                count++;
            }
        }
        insitu_set(e, hot, -count);
        if (shares != NULL) {
            const int32_t share = insitu_get(shares, (uint32_t)count);

            for (uint32_t c = first; c < first + classes; c++) {
                insitu_set(e, c, share * insitu_get(e, c));
            }
        }
        fired++;
    }
    return fired;
}
