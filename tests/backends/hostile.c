/* A caller that hands over anything: every call must say so and touch nothing beside its arrays. Sanitizers watch. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "insitu_net.h"

#ifndef STEPS
#define STEPS 150u
#endif
#ifndef LOADS
#define LOADS 300u
#endif

static uint32_t seed = 1;
static uint32_t counts[2]; /* training steps that were taken, and refused */

static uint32_t any(uint32_t below)
{
    seed = insitu_mix(seed + 0x9E3779B9u);
    return seed % below;
}

/* Bytes of any value, of the extremes, or few of them set. */
static void fill(uint8_t *to, uint32_t size)
{
    static const uint8_t extreme[] = {0, 1, 127, 128, 255};
    const uint32_t how = any(4);
    for (uint32_t i = 0; i < size; i++) {
        to[i] = how == 0u ? (uint8_t)any(256) : how == 1u ? extreme[any(5)] : how == 2u ? 255u : any(9) ? 0u : (uint8_t)any(256);
    }
}

/* Memory of its exact size, so that a sanitizer sees what is beside. */
static uint8_t *block(uint32_t size)
{
    uint8_t *const p = malloc(size ? size : 1u);
    if (p == NULL) {
        exit(3);
    }
    memset(p, 0, size);
    return p;
}

static void want(int ok, const char *what)
{
    if (!ok) {
        printf("wrong: %s\n", what);
        exit(2);
    }
}

static int put(void *to, uint32_t at, const uint8_t *data, uint32_t n)
{
    memcpy((uint8_t *)to + at, data, n);
    return 0;
}

static void refused_calls(insitu_net *net, uint8_t *arena, uint8_t *state, uint8_t *x, uint8_t *y, uint8_t *slots)
{
    insitu_net none;
    memset(&none, 0x5A, sizeof none);
    want(insitu_init(NULL, arena, state) == INSITU_NO_ARGUMENT, "init of NULL");
    want(insitu_init(&none, NULL, state) == INSITU_NO_ARGUMENT && insitu_init(&none, arena, NULL) == INSITU_NO_ARGUMENT, "init in NULL");
    want(insitu_infer(&none, x) == INSITU_NOT_INITIALISED && insitu_infer(NULL, x) == INSITU_NO_ARGUMENT, "infer of no network");
    want(insitu_infer(net, NULL) == INSITU_NO_ARGUMENT, "infer of NULL");
    want(insitu_score(&none, 0) == 0 && insitu_score(NULL, 0) == 0 && insitu_score(net, INSITU_CLASSES) == 0, "score");
    want(insitu_state_load(&none, slots) == INSITU_NOT_INITIALISED && insitu_state_load(NULL, slots) == INSITU_NO_ARGUMENT, "load to no network");
    want(insitu_state_load(net, NULL) == INSITU_NO_ARGUMENT, "load of NULL");
    want(insitu_state_save(&none, slots, put, slots) == INSITU_NOT_INITIALISED, "save of no network");
    want(insitu_state_save(net, NULL, put, slots) == INSITU_NO_ARGUMENT && insitu_state_save(net, slots, NULL, slots) == INSITU_NO_ARGUMENT, "save to NULL");
    want(insitu_quantize_input(NULL, INSITU_SAMPLE_VALUES, x) == INSITU_NO_ARGUMENT, "values of NULL");
#ifndef INSITU_NO_LEARN
    want(insitu_learn(&none, x, y) == INSITU_NOT_INITIALISED && insitu_learn(NULL, x, y) == INSITU_NO_ARGUMENT, "learn of no network");
    want(insitu_learn(net, NULL, y) == INSITU_NO_ARGUMENT, "learn from NULL");
    want(INSITU_LABEL_BYTES == 0u || insitu_learn(net, x, NULL) == INSITU_NO_ARGUMENT, "labels of NULL");
    want(insitu_learn_phase(net, INSITU_PHASES, x, y) == INSITU_BAD_PHASE && insitu_learn_phase(net, UINT32_MAX, x, y) == INSITU_BAD_PHASE, "phases");
    want(insitu_set_shift(net, 0, INSITU_LEAST_SHIFT - 1) == INSITU_BAD_RATE && insitu_set_shift(net, 0, 128) == INSITU_BAD_RATE, "shifts");
    want(insitu_set_shift(net, INSITU_UPDATES, 0) == INSITU_BAD_RATE && insitu_set_shift(&none, 0, 0) == INSITU_NOT_INITIALISED, "updates");
#else
    (void)y;
#endif
}

#ifndef INSITU_NO_LEARN
static void learn(insitu_net *net, const uint8_t *x, uint8_t *y)
{
    insitu_status said;
    fill(y, INSITU_LABEL_BYTES);
    if (any(3) != 0u) { /* mostly classes */
        const insitu_array labels = {y, INSITU_LABEL_BITS ? INSITU_BATCH : 0u, INSITU_LABEL_BITS, INSITU_UNSIGNED};
        for (uint32_t i = 0; i < labels.size; i++) {
            insitu_set(&labels, i, (int32_t)any(INSITU_CLASSES));
        }
    }
    if (any(8) == 0u) {
        for (uint32_t i = 0; i < INSITU_UPDATES; i++) {
            net->shift[i] = (int8_t)(any(4) ? INSITU_LEAST_SHIFT + (int32_t)any(128u + 24u) : (int32_t)any(256) - 128);
        }
    }
    if (any(16) == 0u) {
        fill((uint8_t *)&net->clock.rate, sizeof net->clock.rate);
    }
    if (any(16) == 0u) {
        net->clock.t = any(2) ? UINT32_MAX - any(3) : any(UINT32_MAX);
    }
    said = insitu_learn_phase(net, any(INSITU_PHASES), x, y);
    want(said == INSITU_OK || said == INSITU_BAD_LABEL || said == INSITU_BAD_RATE, "a step's status");
    counts[said != INSITU_OK]++;
}
#endif

/* Slots with something changed, with a right or a wrong check sum. */
static void load(insitu_net *net, uint8_t *slots)
{
    insitu_status said;
    want(insitu_state_save(net, slots, put, slots) == INSITU_OK, "save");
    for (uint32_t n = any(4); n > 0u; n--) {
        slots[any(2u * INSITU_SLOT_BYTES)] ^= (uint8_t)(1u << any(8));
    }
    if (any(8) == 0u) {
        fill(slots, 2u * INSITU_SLOT_BYTES);
    }
    if (any(2)) { /* forged */
        uint8_t *const slot = slots + any(2) * INSITU_SLOT_BYTES;
        uint32_t crc;
        if (any(2)) {
            fill(slot + 32, INSITU_SLOT_BYTES - 36u);
        }
        crc = insitu_crc(0, slot, INSITU_SLOT_BYTES - 4u);
        for (uint32_t i = 0; i < 4u; i++) {
            slot[INSITU_SLOT_BYTES - 4u + i] = (uint8_t)(crc >> (8u * i));
        }
    }
    said = insitu_state_load(net, slots);
    want(said == INSITU_OK || said == INSITU_NO_STATE || said == INSITU_FOREIGN_STATE, "a load's status");
}

int main(void)
{
    insitu_net net, copy;
    uint8_t *arena = block(INSITU_ARENA_BYTES), *state = block(INSITU_STATE_BYTES), *slots = block(2u * INSITU_SLOT_BYTES);
    uint8_t *x = block(INSITU_BATCH_BYTES > INSITU_SAMPLE_BYTES ? INSITU_BATCH_BYTES : INSITU_SAMPLE_BYTES), *y = block(INSITU_LABEL_BYTES);
    float *values = malloc(sizeof(float) * INSITU_SAMPLE_VALUES);
    int32_t found;

    want(insitu_init(&net, arena, state) == INSITU_OK && values != NULL, "init");
    want(insitu_state_load(&net, slots) == INSITU_NO_STATE, "nothing saved");
    refused_calls(&net, arena, state, x, y, slots);
    for (uint32_t t = 0; t < STEPS; t++) {
        fill((uint8_t *)values, (uint32_t)sizeof(float) * INSITU_SAMPLE_VALUES);
        want(insitu_quantize_input(values, INSITU_SAMPLE_VALUES, x) == INSITU_OK, "values");
        fill(x, INSITU_BATCH_BYTES);
#ifndef INSITU_NO_LEARN
        learn(&net, x, y);
#endif
        if (any(10) == 0u) {
            fill(state, INSITU_STATE_BYTES);
        }
        fill(x, INSITU_SAMPLE_BYTES);
        copy = net;
        found = insitu_infer(any(2) ? &net : &copy, x);
        want(found >= 0 && (uint32_t)found < INSITU_CLASSES, "a class");
        if (any(6) == 0u) {
            insitu_init(&net, arena, state);
        }
    }
    for (uint32_t t = 0; t < LOADS; t++) {
        load(&net, slots);
        if (any(8) == 0u) {
            (void)insitu_infer(&net, x);
#ifndef INSITU_NO_LEARN
            learn(&net, x, y);
#endif
        }
    }
    printf("hostile: all refused or done; %lu steps taken, %lu refused\n", (unsigned long)counts[0], (unsigned long)counts[1]);
    free(arena), free(state), free(slots), free(x), free(y), free(values);
    return 0;
}
