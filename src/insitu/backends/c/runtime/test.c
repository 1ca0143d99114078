/* SPDX-License-Identifier: Apache-2.0
 *
 * Learns from the golden samples and compares every state with the reference's; ends with 0 if all are equal.
 */
#include "golden.h"
#include "insitu_net.h"

#if defined(INSITU_BOARD)
#include "semihost.h"
#else
#include <stdio.h>
static void print(const char *text) { fputs(text, stdout); }
#ifndef INSITU_NO_LEARN
static void print_number(int32_t n) { printf("%ld", (long)n); }
#endif
#endif

static uint32_t arena[(INSITU_ARENA_BYTES + 3u) / 4u];
static uint32_t state[(INSITU_STATE_BYTES + 3u) / 4u];

#ifndef INSITU_NO_LEARN
static int wrong(const char *what, uint32_t at)
{
    print("self-test: wrong ");
    print(what);
    print(" at ");
    print_number((int32_t)at);
    print("\n");
    return 1;
}
#endif

int main(void)
{
    insitu_net net;
    insitu_init(&net, (uint8_t *)arena, (uint8_t *)state);
#ifndef INSITU_NO_LEARN
    for (uint32_t t = 0; t < GOLDEN_STEPS; t++) {
        insitu_learn_phase(&net, t % INSITU_PHASES, golden_x + t * INSITU_BATCH_BYTES, golden_label + t * INSITU_LABEL_BYTES);
        if (insitu_crc(0, net.state, INSITU_STATE_BYTES) != golden_state[t]) {
            return wrong("state", t);
        }
    }
#endif
    (void)insitu_infer(&net, golden_x);
#ifndef INSITU_NO_LEARN
    for (uint32_t c = 0; c < INSITU_CLASSES; c++) {
        if (insitu_score(&net, c) != golden_scores[c]) {
            return wrong("score", c);
        }
    }
#endif
#if defined(INSITU_EXITS) && !defined(INSITU_NO_LEARN)
    for (uint32_t t = 0; t < GOLDEN_STEPS; t++) {
        uint32_t left;
        const int32_t found = insitu_infer_early(&net, golden_x + t * INSITU_BATCH_BYTES, insitu_thresholds, &left);
        if (found != golden_class[t] || (int32_t)left != golden_exit[t]) {
            return wrong("exit", t);
        }
    }
#endif
    print("self-test: all equal\n");
    return 0;
}
