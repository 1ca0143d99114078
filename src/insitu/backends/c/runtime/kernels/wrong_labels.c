/* SPDX-License-Identifier: Apache-2.0 */
/* Another class for each label, each as likely. */
#include "insitu_kernels.h"

void insitu_wrong_labels(const insitu_array *label, const insitu_array *out, uint32_t classes, uint32_t stream,
                         const insitu_clock *clock)
{
    const uint32_t key = insitu_key(clock->seed, stream, clock->t);
    for (uint32_t i = 0; i < label->size; i++) {
        const uint32_t step = (uint32_t)(((uint64_t)insitu_word(key, i) * (classes - 1u)) >> 32);
        insitu_set(out, i, (int32_t)(((uint32_t)insitu_get(label, i) + 1u + step) % classes));
    }
}
