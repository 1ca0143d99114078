/* SPDX-License-Identifier: Apache-2.0
 *
 * What the module exports; network.js calls it. One network, in the module's own memory.
 */
#include "insitu_serial.h"

#define EXPORT(name) __attribute__((export_name(#name)))

static insitu_serial network;
static uint8_t slots[2u * INSITU_SLOT_BYTES];

static int put(void *where, uint32_t offset, const uint8_t *data, uint32_t size)
{
    insitu_copy_bytes((uint8_t *)where + offset, data, size);
    return 0;
}

/* The weights of the export; nothing is learned yet. */
EXPORT(start) void start(void) { insitu_serial_begin(&network); }
/* Where the next sample goes: INSITU_SAMPLE_VALUES numbers, in the units of the training data. */
EXPORT(values) float *values(void) { return network.values + network.gathered * INSITU_SAMPLE_VALUES; }
EXPORT(value_count) uint32_t value_count(void) { return INSITU_SAMPLE_VALUES; }
/* The least and the greatest value that a word of a sample stands for. */
EXPORT(least) float least(void) { return (float)(INSITU_INPUT_LEAST - INSITU_INPUT_ZERO) * INSITU_INPUT_UNIT; }
EXPORT(most) float most(void) { return (float)(INSITU_INPUT_MOST - INSITU_INPUT_ZERO) * INSITU_INPUT_UNIT; }
EXPORT(classes) uint32_t classes(void) { return INSITU_CLASSES; }
EXPORT(score) int32_t score(uint32_t class_index) { return insitu_score(&network.net, class_index); }
EXPORT(steps) uint32_t steps(void) { return network.net.clock.t; }
EXPORT(state) uint8_t *state(void) { return network.net.state; }
EXPORT(state_bytes) uint32_t state_bytes(void) { return INSITU_STATE_BYTES; }

/* The class of the sample, or less than 0: an insitu_status. */
EXPORT(infer) int32_t infer(void)
{
    const insitu_status status = insitu_quantize_input(values(), INSITU_SAMPLE_VALUES, network.x);
    return status == INSITU_OK ? insitu_infer(&network.net, network.x) : (int32_t)status;
}

/* The class of the sample before it is learned as `label`, or less than 0: an insitu_status. */
EXPORT(learn) int32_t learn(uint32_t label)
{
    const int32_t said = infer();
    insitu_status status;
    if (label >= INSITU_CLASSES) {
        return INSITU_BAD_LABEL;
    }
    if (said < 0) {
        return said;
    }
    network.label = label;
    status = insitu_serial_learn(&network, (uint32_t)said);
    return status == INSITU_OK ? said : (int32_t)status;
}

/* Two slots, as of insitu_state_save: the page keeps their bytes. */
EXPORT(slots_at) uint8_t *slots_at(void) { return slots; }
EXPORT(slots_bytes) uint32_t slots_bytes(void) { return sizeof slots; }
EXPORT(save) int32_t save(void) { return (int32_t)insitu_state_save(&network.net, slots, put, slots); }
EXPORT(load) int32_t load(void)
{
    network.gathered = 0;
    return (int32_t)insitu_state_load(&network.net, slots);
}
