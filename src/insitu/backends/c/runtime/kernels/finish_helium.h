/* SPDX-License-Identifier: Apache-2.0 */
/* Four sums become bytes with Helium (MVE) of a Cortex-M55 and up. */
#ifndef INSITU_FINISH_HELIUM_H
#define INSITU_FINISH_HELIUM_H

#include <arm_mve.h>

INSITU_INLINE void insitu_finish_4(uint8_t *z, uint32_t plane, const int32_t *sums, const int64_t *more, const insitu_fit *fit)
{
    const uint32x4_t places = vmulq_n_u32(vidupq_n_u32(0, 1), plane), low_halves = {0, 2, 4, 6};
    int32x4_t v = vaddq_s32(vldrwq_s32(sums), vldrwq_gather_shifted_offset_s32((const int32_t *)(const void *)more, low_halves));

    v = vrshlq_s32(v, vdupq_n_s32(-fit->shift));
    v = vminq_s32(vmaxq_s32(v, vdupq_n_s32(fit->low)), vdupq_n_s32(fit->high));
    vstrbq_scatter_offset_u32(z, places, vreinterpretq_u32_s32(v));
}

#endif
