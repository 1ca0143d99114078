/* SPDX-License-Identifier: Apache-2.0 */
/* Generated: the methods by which weights move, beside plain rounding, with their hooks and fields. */
#ifndef INSITU_UPDATES_H
#define INSITU_UPDATES_H

#define INSITU_UPDATE_METHODS(X) \
    X(MASTER) \
    X(ERROR_FEEDBACK) \
    X(ROUND_ROBIN) \
    X(BOP) \
    X(DST) \
    X(INTEGER_SGD) \
    X(NITI)
#define INSITU_UPDATE_BEGIN(X) \
    X(MASTER, insitu_master_begin) \
    X(ROUND_ROBIN, insitu_round_robin_begin) \
    X(BOP, insitu_bop_begin)
#define INSITU_UPDATE_TENSOR(X) \
    X(NITI, insitu_niti_tensor)
#define INSITU_UPDATE_ROW(X) \
    X(ERROR_FEEDBACK, insitu_error_feedback_row)
#define INSITU_UPDATE_CHANGE(X) \
    X(MASTER, insitu_master_change) \
    X(ERROR_FEEDBACK, insitu_error_feedback_change) \
    X(ROUND_ROBIN, insitu_round_robin_change) \
    X(BOP, insitu_bop_change) \
    X(DST, insitu_dst_change) \
    X(INTEGER_SGD, insitu_integer_sgd_change)
#define INSITU_UPDATE_SUMS(X) \
    X(ERROR_FEEDBACK, insitu_error_feedback_sums) \
    X(BOP, insitu_bop_sums)
#define INSITU_UPDATE_FIELDS \
    struct { float unit, bound, decay; uint8_t half; } master; \
    struct { uint8_t group_size, fraction_bits, threshold; } error_feedback; \
    struct { uint32_t slices, window; int32_t evidence; } round_robin; \
    struct { uint8_t gamma; int32_t flip; } bop; \
    struct { const uint32_t *probabilities; } dst; \
    struct { int8_t decay; } integer_sgd; \
    struct { uint8_t step_bits; } niti;

#endif
