/* SPDX-License-Identifier: Apache-2.0 */
/* The words of an array: packed, from 1 to 32 bits wide. */
#ifndef INSITU_WORDS_H
#define INSITU_WORDS_H

/* Words of a width, from any address. */
#define INSITU_ANY(name, type)                                                                                        \
    INSITU_INLINE type insitu_load##name(const uint8_t *p)                                                            \
    {                                                                                                                 \
        struct __attribute__((packed, may_alias)) any {                                                               \
            type word;                                                                                                \
        };                                                                                                            \
                                                                                                                      \
        return ((const struct any *)(const void *)p)->word;                                                           \
    }                                                                                                                 \
    INSITU_INLINE void insitu_store##name(uint8_t *p, type word)                                                      \
    {                                                                                                                 \
        struct __attribute__((packed, may_alias)) any {                                                               \
            type word;                                                                                                \
        };                                                                                                            \
                                                                                                                      \
        ((struct any *)(void *)p)->word = word;                                                                       \
    }
#if defined(INSITU_DSP)
INSITU_ANY(32, uint32_t)
#elif defined(INSITU_AVX2)
INSITU_ANY(16, uint16_t)
INSITU_ANY(64, uint64_t)
#endif

/* Word i, low bits first; the rest is 0. */
static inline uint32_t insitu_pattern(const insitu_array *a, uint32_t i)
{
    const uint8_t *p;
    uint32_t bits = a->bits, skip, word, got;

    if (bits == 8u)
        return a->data[i];
    if (bits == 16u) {
        p = a->data + (size_t)i * 2u;
        return (uint32_t)p[0] | (uint32_t)p[1] << 8;
    }
    if (bits == 32u) {
        p = a->data + (size_t)i * 4u;
        return (uint32_t)p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
    }
    skip = (i & 7u) * bits; /* eight words are `bits` bytes */
    p = a->data + (size_t)(i >> 3) * bits + (skip >> 3);
    skip &= 7u;
#if defined(INSITU_AVX2)
    if (i + 64u < a->size) /* eight bytes are there: of less than 64 words, if of 1 bit */
        return (uint32_t)(insitu_load64(p) >> skip) & (((uint32_t)1 << bits) - 1u);
#endif
    word = (uint32_t)*p >> skip;
    for (got = 8u - skip; got < bits; got += 8u)
        word |= (uint32_t)*++p << got;
    return word & (((uint32_t)1 << bits) - 1u);
}

static inline void insitu_put(const insitu_array *a, uint32_t i, uint32_t word)
{
    uint8_t *p;
    uint32_t bits = a->bits, skip, mask, done;

    if (bits == 8u) {
        a->data[i] = (uint8_t)word;
        return;
    }
    if (bits == 16u || bits == 32u) {
        p = a->data + (size_t)i * (bits >> 3);
        p[0] = (uint8_t)word;
        p[1] = (uint8_t)(word >> 8);
        if (bits == 32u) {
            p[2] = (uint8_t)(word >> 16);
            p[3] = (uint8_t)(word >> 24);
        }
        return;
    }
    skip = (i & 7u) * bits;
    p = a->data + (size_t)(i >> 3) * bits + (skip >> 3);
    skip &= 7u;
    mask = ((uint32_t)1 << bits) - 1u;
    word &= mask;
    *p = (uint8_t)((*p & ~(mask << skip)) | word << skip);
    for (done = 8u - skip; done < bits; done += 8u) {
        ++p;
        *p = (uint8_t)((*p & ~(mask >> done)) | word >> done);
    }
}

static inline int32_t insitu_element(const insitu_array *a, uint32_t i)
{
    uint32_t word = insitu_pattern(a, i), sign;

    if (a->form == INSITU_SIGNED) {
        sign = (uint32_t)1 << (a->bits - 1u);
        return (int32_t)((word ^ sign) - sign);
    }
    return a->form == INSITU_BINARY ? 2 * (int32_t)word - 1 : (int32_t)word;
}

static inline void insitu_set_element(const insitu_array *a, uint32_t i, int32_t value)
{
    insitu_put(a, i, a->form == INSITU_BINARY ? (uint32_t)(value >= 0) : (uint32_t)value);
}

/* Where calls cost more than their code: elements without them, of arrays that are known to stay what they are. */
#if defined(INSITU_AVX2)
#if !defined(INSITU_WORDS)
#define insitu_get insitu_element
#define insitu_set insitu_set_element
#endif
#define INSITU_KEEP(a) const insitu_array a##_kept = *(a); (a) = &a##_kept
/* Many elements: loops that the compiler makes wide. */
void insitu_get_many(const insitu_array *a, uint32_t first, uint32_t count, int32_t *to);
void insitu_set_many(const insitu_array *a, uint32_t first, uint32_t count, const int32_t *from);
#else
#define INSITU_KEEP(a) (void)(a)
#endif

#endif
