/* What a self-test takes of a board, for an ATmega: its serial line is the simulator's output. */
#include <avr/io.h>

static void print(const char *text)
{
    UCSR0B = 1 << TXEN0;
    while (*text) {
        while (!(UCSR0A & (1 << UDRE0))) {
        }
        UDR0 = (uint8_t)*text++;
    }
}

static void print_number(int32_t n)
{
    const char digit[2] = {(char)('0' + (char)(n % 10)), 0};
    if (n > 9) {
        print_number(n / 10);
    }
    print(digit);
}
