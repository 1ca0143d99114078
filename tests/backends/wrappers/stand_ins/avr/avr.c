/* The self-test on an ATmega, which ends where it sleeps without interrupts. */
#define main self_test
#include "test.c"
#undef main

#include <avr/interrupt.h>
#include <avr/sleep.h>

int main(void)
{
    self_test();
    cli();
    sleep_enable();
    sleep_cpu();
    return 0;
}
