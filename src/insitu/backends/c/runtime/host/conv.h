/* SPDX-License-Identifier: Apache-2.0
 *
 * Convolutions on a host, as products of matrices of bytes: blocks of rows of the left matrix by tiles of columns of the
 * right one. What kernels call returns 0 where the portable form has to do it.
 *
 *     forward   z_K(PQ)   = w_K(CRS)   windows_(CRS)(PQ)
 *     error     t_(CRS)(PQ) = w_K(CRS)^T d_K(PQ), whose elements are added to e_C(HW)
 *     gradient  g_K(CRS)  = d_K(PQ)    windows_(CRS)(PQ)^T
 */
#ifndef INSITU_CONV_H
#define INSITU_CONV_H

#include "internal.h"

#if defined(INSITU_HOST)

int insitu_host_conv2d(const insitu_array *x, const insitu_array *w, const insitu_array *bias, const insitu_array *z,
                       const insitu_conv *n, const insitu_read *read, const insitu_read *read_bias, int8_t bias_shift,
                       const insitu_fit *end, const insitu_clock *clock);
int insitu_host_conv2d_dx(const insitu_array *d, const insitu_array *w, const insitu_array *e, const insitu_conv *n,
                          const insitu_read *read, const insitu_fit *end, const insitu_clock *clock);
/* m: the weights that move, begun; or NULL, and the gradient becomes g. */
int insitu_host_conv2d_dw(const insitu_array *d, const insitu_array *x, const insitu_array *g, insitu_mover *m,
                          const insitu_conv *n, const insitu_fit *end, const insitu_clock *clock);
/* The gradient of a pooled map's errors. */
int insitu_host_gated_conv2d_dw_update(const insitu_array *d, const insitu_array *h, const insitu_array *x,
                                       const insitu_array *e, const insitu_array *w, const insitu_array *state,
                                       const insitu_conv *n, uint32_t rows, uint32_t columns, const insitu_move *move,
                                       const insitu_clock *clock);

/* Channels that are a group each. */
int insitu_host_depthwise(const insitu_array *x, const insitu_array *w, const insitu_array *bias, const insitu_array *z,
                          const insitu_conv *n, const insitu_read *read, const insitu_read *read_bias, int8_t bias_shift,
                          const insitu_fit *end, const insitu_clock *clock);
int insitu_host_depthwise_dx(const insitu_array *d, const insitu_array *w, const insitu_array *e, const insitu_conv *n,
                             const insitu_read *read, const insitu_fit *end, const insitu_clock *clock);
int insitu_host_depthwise_dw(const insitu_array *d, const insitu_array *x, const insitu_array *g, insitu_mover *m,
                             const insitu_conv *n, const insitu_fit *end, const insitu_clock *clock);

#endif
#endif
