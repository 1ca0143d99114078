/* SPDX-License-Identifier: Apache-2.0
 *
 * Learning from lines of text, a character at a time, for sketches. Numbers are separated by spaces or commas:
 *
 *     3 0.5 0 -0.25     a sample of class 3: its class by inference is said, then it is learned
 *     ? 0.5 0 -0.25     a sample: its class by inference is said
 *     !                 the step count and the CRC-32 of the state are said
 *
 * A number is digits with a point and a sign; the values are those that the network was trained on, before any word is
 * made of them. No libc is called. Valid in C99 and in C++.
 */
#ifndef INSITU_SERIAL_H
#define INSITU_SERIAL_H

#include "insitu_net.h"

#define INSITU_SERIAL_ANSWER 80 /* characters of an answer at most, with its end */

typedef struct {
    insitu_net net;
    uint32_t arena[(INSITU_ARENA_BYTES + 3u) / 4u];
    uint32_t state[(INSITU_STATE_BYTES + 3u) / 4u];
    float values[INSITU_BATCH * INSITU_SAMPLE_VALUES]; /* of the samples of a batch, as they come */
    uint8_t x[INSITU_BATCH * INSITU_SAMPLE_BYTES];
    uint8_t labels[INSITU_LABEL_BYTES + 1u];
    uint32_t gathered;    /* samples of the batch that are there */
    uint32_t seen, right; /* labelled samples, and those that inference named before they were learned */
    /* The line. */
    uint32_t words, label;
    uint8_t kind; /* 0, '?' or '!' */
    uint8_t bad;
    /* The word. */
    float number, scale;
    uint8_t digits, minus, point;
} insitu_serial;

static inline void insitu_serial_new_word(insitu_serial *s)
{
    s->number = 0.0f;
    s->scale = 1.0f;
    s->digits = s->minus = s->point = 0;
}

static inline void insitu_serial_new_line(insitu_serial *s)
{
    s->words = s->label = 0;
    s->kind = s->bad = 0;
    insitu_serial_new_word(s);
}

static inline void insitu_serial_begin(insitu_serial *s)
{
    insitu_init(&s->net, (uint8_t *)s->arena, (uint8_t *)s->state);
    s->gathered = s->seen = s->right = 0;
    insitu_serial_new_line(s);
}

/* The end of a word: the class, or a value. */
static inline void insitu_serial_word(insitu_serial *s)
{
    const float value = (s->minus ? -s->number : s->number) / s->scale;
    if (s->digits == 0 && !s->minus && !s->point) {
        return;
    }
    if (s->digits == 0 || s->kind == '!' || s->words > INSITU_SAMPLE_VALUES) {
        s->bad = 1;
    } else if (s->words == 0) {
        s->label = value >= 0.0f && value < (float)INSITU_CLASSES ? (uint32_t)value : INSITU_CLASSES;
        s->bad |= (uint8_t)(s->point || s->label >= INSITU_CLASSES);
        s->words = 1;
    } else {
        s->values[s->gathered * INSITU_SAMPLE_VALUES + s->words - 1u] = value;
        s->words++;
    }
    insitu_serial_new_word(s);
}

static inline char *insitu_serial_text(char *to, const char *text)
{
    while (*text) {
        *to++ = *text++;
    }
    *to = 0;
    return to;
}

static inline char *insitu_serial_number(char *to, uint32_t n)
{
    char digits[10];
    int count = 0;
    do {
        digits[count++] = (char)('0' + (int)(n % 10u));
        n /= 10u;
    } while (n);
    while (count) {
        *to++ = digits[--count];
    }
    *to = 0;
    return to;
}

static inline void insitu_serial_state(const insitu_serial *s, char *to)
{
    const uint32_t crc = insitu_crc(0, s->net.state, INSITU_STATE_BYTES);
    to = insitu_serial_text(insitu_serial_number(insitu_serial_text(to, "step "), s->net.clock.t), ", state ");
    for (int shift = 28; shift >= 0; shift -= 4) {
        *to++ = "0123456789abcdef"[crc >> shift & 15u];
    }
    insitu_serial_text(to, "\n");
}

/* The labelled sample joins the batch, which is learned when it is full; refused where learning is left out. */
static inline insitu_status insitu_serial_learn(insitu_serial *s, uint32_t said)
{
#ifdef INSITU_NO_LEARN
    (void)s;
    (void)said;
    return INSITU_BAD_PHASE;
#else
    insitu_status status;
    s->seen++;
    s->right += said == s->label;
    if (INSITU_LABEL_BYTES > 0u) {
        const insitu_array labels = {s->labels, INSITU_BATCH, INSITU_LABEL_BITS, INSITU_UNSIGNED};
        insitu_set(&labels, s->gathered, (int32_t)s->label);
    }
    if (++s->gathered < INSITU_BATCH) {
        return INSITU_OK;
    }
    s->gathered = 0;
    status = insitu_quantize_input(s->values, INSITU_BATCH * INSITU_SAMPLE_VALUES, s->x);
    return status == INSITU_OK ? insitu_learn(&s->net, s->x, s->labels) : status;
#endif
}

/* The end of a line: what is asked for is done, and said in `to`. */
static inline void insitu_serial_line(insitu_serial *s, char *to)
{
    int32_t said;
    if (s->kind == '!' && !s->bad) {
        insitu_serial_state(s, to);
        return;
    }
    if (s->bad || s->words != INSITU_SAMPLE_VALUES + 1u) {
        to = insitu_serial_number(insitu_serial_text(to, "error: a line is a class below "), INSITU_CLASSES);
        to = insitu_serial_number(insitu_serial_text(to, " or ?, then "), INSITU_SAMPLE_VALUES);
        insitu_serial_text(to, " numbers\n");
        return;
    }
    (void)insitu_quantize_input(s->values + s->gathered * INSITU_SAMPLE_VALUES, INSITU_SAMPLE_VALUES, s->x);
    said = insitu_infer(&s->net, s->x);
    to = insitu_serial_number(insitu_serial_text(to, "class "), (uint32_t)said);
    if (s->kind == 0) {
        const insitu_status status = insitu_serial_learn(s, (uint32_t)said);
        to = insitu_serial_number(insitu_serial_text(to, status == INSITU_OK ? ", learned " : ", refused "), s->label);
        to = insitu_serial_number(insitu_serial_text(to, ", right "), s->right);
        to = insitu_serial_number(insitu_serial_text(to, " of "), s->seen);
    }
    insitu_serial_text(to, "\n");
}

/* One character. Not 0: a line has ended, and its answer is in `answer`, INSITU_SERIAL_ANSWER characters at most. */
static inline int insitu_serial_take(insitu_serial *s, char c, char *answer)
{
    if (c >= '0' && c <= '9') {
        s->number = s->number * 10.0f + (float)(c - '0');
        s->scale *= s->point ? 10.0f : 1.0f;
        s->digits = 1;
    } else if (c == '.' && !s->point) {
        s->point = 1;
    } else if (c == '-' && !s->minus && !s->digits) {
        s->minus = 1;
    } else if ((c == '?' || c == '!') && s->words == 0 && s->digits == 0) {
        s->kind = (uint8_t)c;
        s->words = 1;
    } else if (c == ' ' || c == ',' || c == '\r') {
        insitu_serial_word(s);
    } else if (c == '\n') {
        insitu_serial_word(s);
        if (s->words > 0 || s->bad) {
            insitu_serial_line(s, answer);
            insitu_serial_new_line(s);
            return 1;
        }
    } else {
        s->bad = 1;
    }
    return 0;
}

#endif
