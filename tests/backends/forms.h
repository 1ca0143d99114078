/* What the programs that compare forms of kernels share: random arrays, and one number for an array. */
#ifndef FORMS_H
#define FORMS_H

#include <stdio.h>
#include <stdlib.h>

#include "insitu_kernels.h"

static uint32_t seed = 1;

static uint32_t any(uint32_t below)
{
    seed = insitu_mix(seed + 0x9E3779B9u);
    return seed % below;
}

/* An array of its exact bytes, so that a sanitizer sees what is beside. */
static insitu_array made(uint32_t size, uint8_t bits, uint8_t form)
{
    const uint32_t bytes = (size * bits + 7u) / 8u;
    insitu_array a = {malloc(bytes), size, bits, form};
    for (uint32_t i = 0; i < bytes; i++) {
        a.data[i] = 0;
    }
    for (uint32_t i = 0; i < size; i++) {
        insitu_set(&a, i, (int32_t)any(0x7FFFFFFFu));
    }
    return a;
}

/* Most elements 0, whole stretches among them; the rest of any size. */
static void thin(const insitu_array *a)
{
    for (uint32_t i = 0; i < a->size; i++) {
        if (any(3) != 0u || insitu_mix(i / 40u + a->size) % 3u == 0u) {
            insitu_set(a, i, 0);
        }
    }
}

static void show(const char *what, const insitu_array *a)
{
    uint32_t sum = 0;
    for (uint32_t i = 0; i < a->size; i++) {
        sum = insitu_mix(sum ^ (uint32_t)insitu_get(a, i));
    }
    printf(" %s %08lx", what, (unsigned long)sum);
}

#endif
