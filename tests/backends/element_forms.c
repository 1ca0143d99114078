/* Pools and ops on elements of random words: one line a case, which every form of a kernel must print alike. */
#include "forms.h"

#define CASES 300u

static const insitu_clock CLOCK = {5u, 7u, 0.5f, NULL};

/* Two by two, and other windows. */
static void pools(void)
{
    const uint32_t by = any(4) ? 2u : 3u, h = by + any(33), w = by + any(33), padding = any(5) == 0u ? 1u : 0u;
    const insitu_conv n = {.batch = 1u + any(2), .c = 1u + any(4), .h = h, .w = w, .r = by, .s = by, .groups = 1u,
                           .p = (h + 2u * padding - by) / by + 1u, .q = (w + 2u * padding - by) / by + 1u, .stride = {by, by},
                           .padding = {padding, padding}, .dilation = {1u, 1u}};
    const uint32_t planes = n.batch * n.c;
    const uint8_t form = any(2) ? INSITU_SIGNED : INSITU_UNSIGNED, places[] = {12u, 16u};
    insitu_array x = made(planes * h * w, 8u, form), y = made(planes * n.p * n.q, 8u, form);
    const insitu_fit fit = {1, -128, 127, 0u, (int8_t)any(4), INSITU_HALF_UP, 0u, INT32_MIN, INT32_MAX};
    insitu_array mask = made(x.size, any(2) ? 1u : 8u, INSITU_UNSIGNED);
    insitu_array position = made(y.size, places[any(2)], INSITU_UNSIGNED), e = made(x.size, 8u, INSITU_SIGNED);

    if (any(2)) {
        thin(&x);
    }
    insitu_max_pool(&x, &y, &position, &n);
    insitu_max_unpool(&y, &position, &e, planes);
    show("pooled", &y);
    show("position", &position);
    show("unpooled", &e);
    insitu_sum_pool(&x, &y, &n, &fit, &CLOCK);
    show("summed", &y);
    if (padding == 0u) {
        insitu_unpool_gate(&y, &mask, &e, &n);
        show("enlarged", &e);
    }
    free(mask.data);
    free(x.data);
    free(y.data);
    free(position.data);
    free(e.data);
}

/* Words of any width that are signed, but for those of a mask. */
static void elements(void)
{
    const uint32_t size = 1u + any(any(3) ? 90 : 1500), channels = 1u + any(3);
    const uint8_t bits = (uint8_t)(2u + any(24));
    const insitu_fit fit = {1, -(1 << 14), (1 << 14) - 1, 0u, (int8_t)((int32_t)any(20) - 4), INSITU_HALF_UP, 0u, INT32_MIN, INT32_MAX};
    const insitu_fit exact = {1, INT32_MIN, INT32_MAX, 0u, 0, INSITU_EXACT, 0u, INT32_MIN, INT32_MAX};
    insitu_array a = made(size * channels, bits, INSITU_SIGNED), b = made(a.size, (uint8_t)(2u + any(15)), INSITU_SIGNED);
    insitu_array y = made(a.size, 26u, INSITU_SIGNED), mask = made(a.size, any(2) ? 1u : 8u, INSITU_UNSIGNED);
    insitu_array narrow = made(a.size, 15u, INSITU_SIGNED), g = made(channels, 32u, INSITU_SIGNED);
    insitu_array e = made(1u, 4u, INSITU_SIGNED), f = made(1u, 4u, INSITU_SIGNED), high = made(1u, 8u, INSITU_SIGNED);

    insitu_add(&a, &b, &y);
    show("sum", &y);
    insitu_gate(&y, &mask, &y);
    show("gated", &y);
    insitu_stash(&a, &mask);
    show("stash", &mask);
    insitu_dropout(&a, &y, 0x50000000u, any(2) ? 1u : size, 9u, &CLOCK);
    show("dropout", &y);
    insitu_add_aligned(&b, &narrow, &e, &f, &y, &high, (int8_t)any(3), 0, -70000, 70000);
    show("aligned", &y);
    show("high", &high);
    insitu_requant(&a, NULL, &narrow, &fit, 0u, &CLOCK);
    show("requant", &narrow);
    insitu_sum_to_channels(&a, &g, 1u, channels, size, &exact, &CLOCK);
    show("channels", &g);
    free(a.data);
    free(b.data);
    free(y.data);
    free(mask.data);
    free(narrow.data);
    free(g.data);
    free(e.data);
    free(f.data);
    free(high.data);
}

int main(void)
{
    for (uint32_t i = 0; i < CASES; i++) {
        printf("%lu:", (unsigned long)i);
        pools();
        elements();
        printf("\n");
    }
    return 0;
}
