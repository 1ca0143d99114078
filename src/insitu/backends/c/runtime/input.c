/* SPDX-License-Identifier: Apache-2.0
 *
 * From real values to the words of a sample.
 */
#include "insitu_net.h"

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
        const float scaled = values[i] / INSITU_INPUT_UNIT; /* each rounded to float, also where more bits are at hand */
        const float moved = scaled + (float)INSITU_INPUT_ZERO;
        const float at = moved + 0.5f;
        int32_t word;
        if (at >= (float)INSITU_INPUT_MOST) {
            word = INSITU_INPUT_MOST;
        } else if (at > (float)INSITU_INPUT_LEAST) {
            word = (int32_t)at;
            if ((float)word > at) { /* the conversion is towards 0 */
                word--;
            }
        } else { /* what is no number, too */
            word = INSITU_INPUT_LEAST;
        }
        insitu_set(&words, i, word);
    }
    return INSITU_OK;
}
