/* SPDX-License-Identifier: Apache-2.0
 *
 * From real values to the words of a sample, or of targets.
 */
#include "insitu_net.h"

/* Each sum is rounded to float by its assignment, also where more bits are at hand. */
static int32_t nearest(float position, int32_t least, int32_t most)
{
    const float at = position + 0.5f;
    int32_t word;

    if (at >= (float)most) {
        return most;
    }
    if (!(at > (float)least)) { /* what is no number, too */
        return least;
    }
    word = (int32_t)at;
    return (float)word > at ? word - 1 : word; /* the conversion is towards 0 */
}

insitu_status insitu_quantize_input(const float *values, uint32_t count, uint8_t *x)
{
    const insitu_array words = {x, count, INSITU_INPUT_BITS, INSITU_INPUT_FORM};
    if (values == NULL || x == NULL) {
        return INSITU_NO_ARGUMENT;
    }
    if (count > INSITU_BATCH * INSITU_SAMPLE_VALUES || count % INSITU_SAMPLE_VALUES != 0u) {
        return INSITU_BAD_SIZE;
    }
    for (uint32_t i = 0; i < count; i++) {
        const float scaled = values[i] / INSITU_INPUT_UNIT;
        const float moved = scaled + (float)INSITU_INPUT_ZERO;
        insitu_set(&words, i, nearest(moved, INSITU_INPUT_LEAST, INSITU_INPUT_MOST));
    }
    return INSITU_OK;
}

#if defined(INSITU_TARGET_UNIT)
insitu_status insitu_quantize_target(const float *values, uint32_t count, uint8_t *label)
{
    const insitu_array words = {label, count, INSITU_LABEL_BITS, INSITU_TARGET_FORM};
    if (values == NULL || label == NULL) {
        return INSITU_NO_ARGUMENT;
    }
    if (count > INSITU_BATCH * INSITU_CLASSES || count % INSITU_CLASSES != 0u) {
        return INSITU_BAD_SIZE;
    }
    for (uint32_t i = 0; i < count; i++) {
        const float scaled = values[i] / INSITU_TARGET_UNIT;
        insitu_set(&words, i, nearest(scaled, INSITU_TARGET_LEAST, INSITU_TARGET_MOST));
    }
    return INSITU_OK;
}
#endif
