/* Convolutions of random shapes and words: one line a case, which every form of a kernel must print alike. */
#include "forms.h"

#define CASES 250u

static uint32_t least_one(uint32_t n)
{
    return n > 0u ? n : 1u;
}

/* Any geometry: odd planes, strides, padding, dilation, groups, one channel a group. */
static insitu_conv any_geometry(void)
{
    static const uint32_t kernels[] = {1, 2, 3, 3, 3, 5}, groups[] = {1, 1, 1, 2, 3};
    insitu_conv n = {.batch = any(6) == 0u ? 2u : 1u, .r = kernels[any(6)], .s = kernels[any(6)], .groups = groups[any(5)]};
    n.c = n.groups * (1u + any(any(3) ? 5 : 20));
    n.k = n.groups * (1u + any(any(3) ? 6 : 19));
    if (any(5) == 0u) { /* depthwise */
        n.groups = n.k = n.c;
    }
    for (uint32_t i = 0; i < 2u; i++) {
        n.stride[i] = any(3) ? 1u : 1u + any(3);
        n.padding[i] = any(4);
        n.dilation[i] = any(5) ? 1u : 2u;
    }
    const uint32_t down = (n.r - 1u) * n.dilation[0] + 1u, right = (n.s - 1u) * n.dilation[1] + 1u;
    n.h = any(any(4) ? 10 : 36);
    n.w = any(any(4) ? 12 : 36);
    n.h = least_one(n.h + 2u * n.padding[0] < down ? down : n.h);
    n.w = least_one(n.w + 2u * n.padding[1] < right ? right : n.w);
    n.p = (n.h + 2u * n.padding[0] - down) / n.stride[0] + 1u;
    n.q = (n.w + 2u * n.padding[1] - right) / n.stride[1] + 1u;
    return n;
}

static void one(uint32_t number)
{
    const insitu_conv n = any_geometry();
    const uint8_t x_bits = any(3) ? 8u : (uint8_t)(1u + any(8)), w_bits = any(4) ? 8u : (uint8_t)(1u + any(7));
    const uint8_t forms[] = {INSITU_UNSIGNED, INSITU_SIGNED};
    const uint8_t x_form = x_bits == 1u && any(2) ? INSITU_BINARY : forms[any(2)];
    const uint8_t w_form = w_bits == 1u ? INSITU_BINARY : INSITU_SIGNED;
    const int8_t shift[1] = {(int8_t)(1u + any(20))};
    const insitu_clock clock = {any(99), any(99), 0.5f, shift};
    const insitu_read read = {NULL, 0.0f, INT32_MIN, INT32_MAX, INSITU_AS_STORED, 0, 0u, 0u};
    insitu_fit fit = {1, -128, 127, 0u, (int8_t)any(14), INSITU_HALF_UP, 0u, INT32_MIN, INT32_MAX};
    const insitu_fit exact = {1, -(1 << 20), (1 << 20) - 1, 0u, 0, INSITU_EXACT, 0u, INT32_MIN, INT32_MAX};
    const uint32_t size = n.c / n.groups * n.r * n.s;
    insitu_move move = {.low = w_form == INSITU_BINARY ? -1 : -(1 << (w_bits - 1)), .high = w_form == INSITU_BINARY ? 1 : (1 << (w_bits - 1)) - 1,
                        .least = INT32_MIN, .most = INT32_MAX, .stream = 77u, .rounding = INSITU_STOCHASTIC,
                        .stride = w_form == INSITU_BINARY ? 2u : 1u, .random = 1u, .lfsr = (uint8_t)(any(5) == 0u),
                        .zero_is_noop = 1u, .group = 1u};
    insitu_array x = made(n.batch * n.c * n.h * n.w, x_bits, x_form), w = made(n.k * size, w_bits, w_form);
    insitu_array bias = made(n.k, 12u, INSITU_SIGNED), z = made(n.batch * n.k * n.p * n.q, 8u, INSITU_SIGNED);
    insitu_array d = made(z.size, any(3) ? 8u : any(2) ? 9u : 5u, INSITU_SIGNED), e = made(x.size, 21u, INSITU_SIGNED);
    insitu_array g = made(w.size, 21u, INSITU_SIGNED);
    uint8_t *workspace = malloc(size);

    if (any(5) == 0u) {
        fit.rounding = any(2) ? INSITU_STOCHASTIC : INSITU_FLOOR;
        fit.limited = (uint8_t)any(2);
        fit.least = -3000;
        fit.most = 3000;
    }
    if (any(3) == 0u) {
        thin(&d);
    }
    insitu_conv2d(&x, &w, any(2) ? &bias : NULL, &z, &n, &read, &read, (int8_t)any(5), &fit, &clock, x_bits == 8u ? workspace : NULL);
    insitu_conv2d_dx(&d, &w, &e, &n, &read, &exact, &clock);
    insitu_conv2d_dw(&d, &x, &g, &n, &exact, &clock);
    insitu_conv2d_dw_update(&d, &x, NULL, &w, NULL, &n, &move, &clock);
    printf("%lu: c %lu h %lu w %lu k %lu r %lu s %lu groups %lu", (unsigned long)number, (unsigned long)n.c, (unsigned long)n.h,
           (unsigned long)n.w, (unsigned long)n.k, (unsigned long)n.r, (unsigned long)n.s, (unsigned long)n.groups);
    show("z", &z);
    show("e", &e);
    show("g", &g);
    show("w", &w);
    printf("\n");
    free(x.data);
    free(w.data);
    free(bias.data);
    free(z.data);
    free(d.data);
    free(e.data);
    free(g.data);
    free(workspace);
}

int main(void)
{
    for (uint32_t i = 0; i < CASES; i++) {
        one(i);
    }
    return 0;
}
