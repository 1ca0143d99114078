/* SPDX-License-Identifier: Apache-2.0
 *
 * The program as a library on a host: memory of its own, loops over many samples, and how many of them triggered.
 */
#include <stdlib.h>
#include <string.h>

#include "host.h"

typedef struct {
    insitu_net net;
    uint32_t arena[(INSITU_ARENA_BYTES + 3u) / 4u];
    uint32_t state[(INSITU_STATE_BYTES + 3u) / 4u];
    uint32_t fired[INSITU_TRIGGERS];
} insitu_host;

insitu_host *insitu_host_new(void);
insitu_host *insitu_host_copy(const insitu_host *host);
void insitu_host_free(insitu_host *host);
uint8_t *insitu_host_state(insitu_host *host);
void insitu_host_clock(insitu_host *host, uint32_t seed, uint32_t t, float rate, const int8_t *shift);
uint32_t insitu_host_time(const insitu_host *host);
insitu_status insitu_host_learn(insitu_host *host, uint32_t phase, const uint8_t *x, const uint8_t *label, uint32_t steps);
void insitu_host_infer(insitu_host *host, const uint8_t *x, uint32_t samples, uint32_t *classes, int32_t *scores);
uint32_t insitu_host_size(uint32_t which);
uint32_t *insitu_host_triggers(insitu_host *host);

insitu_host *insitu_host_new(void)
{
    insitu_host *const host = calloc(1, sizeof *host);
    if (host != NULL) {
        insitu_init(&host->net, (uint8_t *)host->arena, (uint8_t *)host->state);
    }
    return host;
}

insitu_host *insitu_host_copy(const insitu_host *host)
{
    insitu_host *const copy = insitu_host_new();
    if (copy != NULL) {
        memcpy(copy->state, host->state, sizeof copy->state);
        copy->net.clock.seed = host->net.clock.seed;
        copy->net.clock.t = host->net.clock.t;
    }
    return copy;
}

void insitu_host_free(insitu_host *host) { free(host); }

uint8_t *insitu_host_state(insitu_host *host) { return host->net.state; }

void insitu_host_clock(insitu_host *host, uint32_t seed, uint32_t t, float rate, const int8_t *shift)
{
    host->net.clock.seed = seed;
    host->net.clock.t = t;
    host->net.clock.rate = rate;
    for (uint32_t i = 0; i < INSITU_UPDATES; i++) {
        host->net.shift[i] = shift[i];
    }
}

uint32_t insitu_host_time(const insitu_host *host) { return host->net.clock.t; }

insitu_status insitu_host_learn(insitu_host *host, uint32_t phase, const uint8_t *x, const uint8_t *label, uint32_t steps)
{
    insitu_status status = INSITU_OK;

    for (uint32_t i = 0; i < steps && status == INSITU_OK; i++) {
        status = insitu_learn_phase(&host->net, phase, x + (size_t)i * INSITU_BATCH_BYTES, label + (size_t)i * INSITU_LABEL_BYTES);
    }
    return status;
}

/* The network is the first part of its host. */
void insitu_host_fired(insitu_net *net, uint32_t trigger, uint32_t samples)
{
    ((insitu_host *)(void *)net)->fired[trigger] += samples;
}

uint32_t *insitu_host_triggers(insitu_host *host) { return host->fired; }

void insitu_host_infer(insitu_host *host, const uint8_t *x, uint32_t samples, uint32_t *classes, int32_t *scores)
{
    for (uint32_t i = 0; i < samples; i++) {
        classes[i] = (uint32_t)insitu_infer(&host->net, x + (size_t)i * INSITU_SAMPLE_BYTES);
        for (uint32_t c = 0; scores != NULL && c < INSITU_CLASSES; c++) {
            scores[(size_t)i * INSITU_CLASSES + c] = insitu_score(&host->net, c);
        }
    }
}

uint32_t insitu_host_size(uint32_t which)
{
    static const uint32_t sizes[] = {INSITU_ARENA_BYTES, INSITU_STATE_BYTES, INSITU_BATCH_BYTES, INSITU_LABEL_BYTES,
                                     INSITU_SAMPLE_BYTES, INSITU_CLASSES, INSITU_UPDATES, INSITU_PHASES, INSITU_BATCH};
    return sizes[which];
}
