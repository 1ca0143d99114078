/* Kernels on random shapes and words: one line a case, which every form of a kernel must print alike. */
#include "forms.h"

#define CASES 400u

static void one(uint32_t number)
{
    const uint32_t sizes[] = {1u + any(9), 60u + any(10), 1u + any(200), 1000u + any(100)};
    const uint32_t inputs = sizes[any(4)], outputs = 1u + any(21), batch = any(4) == 0u ? 2u : 1u;
    const uint8_t form = any(2) ? INSITU_SIGNED : INSITU_UNSIGNED, bits = any(4) ? 8u : (uint8_t)(2u + any(6));
    const insitu_dense n = {batch, outputs, inputs, inputs};
    const int8_t shift[1] = {(int8_t)(1u + any(30))};
    const insitu_clock clock = {any(99), any(99), 0.5f, shift};
    const insitu_read read = {NULL, 0.0f, INT32_MIN, INT32_MAX, INSITU_AS_STORED, 0, 0u, 0u};
    const insitu_fit fit = {1, -128, 127, 0u, (int8_t)any(14), INSITU_HALF_UP, 0u, INT32_MIN, INT32_MAX};
    const insitu_fit exact = {1, -(1 << 18), (1 << 18) - 1, 0u, 0, INSITU_EXACT, 0u, INT32_MIN, INT32_MAX};
    insitu_move move = {.low = -128, .high = 127, .least = INT32_MIN, .most = INT32_MAX, .stream = 77u,
                        .rounding = INSITU_STOCHASTIC, .stride = 1u, .random = 1u, .lfsr = (uint8_t)(any(5) == 0u),
                        .zero_is_noop = 1u, .group = 1u};
    insitu_array x = made(batch * inputs, bits, form), w = made(outputs * inputs, 8u, INSITU_SIGNED);
    insitu_array bias = made(outputs, 16u, INSITU_SIGNED), z = made(batch * outputs, 8u, INSITU_SIGNED);
    insitu_array d = made(batch * outputs, 8u, INSITU_SIGNED), e = made(batch * inputs, 19u, INSITU_SIGNED);
    insitu_array y = made(batch * inputs, 8u, INSITU_SIGNED), k = made(1, 8u, INSITU_SIGNED);
    insitu_array table = made(256u, 8u, INSITU_SIGNED);
    insitu_array product = made(batch * inputs, 16u, INSITU_SIGNED);

    thin(&x);
    if (any(2)) {
        insitu_set(&d, any(d.size), 0);
        insitu_set(&d, any(d.size), -128);
    }
    insitu_matmul(&x, &w, &bias, &z, &n, &read, &read, (int8_t)any(5), &fit, &clock);
    insitu_matmul_dx(&d, &w, &e, &n, &read, &exact, &clock);
    insitu_exponent(&e, &k, 1u, 8u, 0);
    insitu_requant(&e, &k, &y, &fit, 0u, &clock);
    insitu_mul(&y, &y, &product);
    insitu_lut(&y, &y, &table, -128);
    printf("%lu:", (unsigned long)number);
    show("z", &z);
    show("e", &e);
    show("k", &k);
    show("y", &y);
    show("y y", &product);
    if (any(4) == 0u) {
        move.rounding = INSITU_HALF_UP;
        move.random = 0u;
    }
    insitu_matmul_dw_update(&d, &x, NULL, &w, NULL, &n, &move, &clock);
    move.low = INT16_MIN;
    move.high = INT16_MAX;
    insitu_sum_to_channels_update(&d, NULL, &bias, NULL, batch, outputs, 1u, &move, &clock);
    show("w", &w);
    show("bias", &bias);
    printf("\n");
    free(x.data);
    free(w.data);
    free(bias.data);
    free(z.data);
    free(d.data);
    free(e.data);
    free(y.data);
    free(k.data);
    free(product.data);
    free(table.data);
}

int main(void)
{
    for (uint32_t i = 0; i < CASES; i++) {
        one(i);
    }
    return 0;
}
