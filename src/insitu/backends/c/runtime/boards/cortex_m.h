/* SPDX-License-Identifier: Apache-2.0
 *
 * What start-up needs of a Cortex-M: a call of the emulator, vectors, and a report of faults.
 */
void insitu_fault(void);
void insitu_report(const uint32_t *frame) __attribute__((noreturn, used));

/* Helium is a coprocessor, which reset leaves off (CPACR: CP10, CP11). */
static void enable(void) {
#ifdef INSITU_HELIUM
    *(volatile uint32_t *)0xE000ED88 |= 0xFu << 20;
    __asm__ volatile("dsb\n\tisb" : : : "memory");
#endif
}

static void host(uint32_t operation, const void *argument) {
    register uint32_t r0 __asm__("r0") = operation;
    register const void *r1 __asm__("r1") = argument;
    __asm__ volatile("bkpt 0xab" : "+r"(r0) : "r"(r1) : "memory", "cc");
}

/* The frame that the core stacked: r0 to r3, r12, lr, pc, xpsr. Below the limit the core could not stack it. */
void insitu_report(const uint32_t *frame) {
    if ((uintptr_t)frame < (uintptr_t)insitu_stack_limit || (uintptr_t)frame + 32 > (uintptr_t)insitu_stack_top) {
        print("insitu-fault: stack overflow\n");
    } else {
        print("insitu-fault: at pc 0x");
        print_hex(frame[6]);
        print(", lr 0x");
        print_hex(frame[5]);
        print("\n");
    }
    insitu_exit(FAULTED);
}

/* Where the stack is exhausted, the report starts it anew, else it goes on below the frame that it reads. */
__attribute__((naked)) void insitu_fault(void) {
    __asm__ volatile("mrs r0, msp\n"
                     "ldr r1, =insitu_stack_limit + 256\n"
                     "cmp r0, r1\n"
                     "bhs 1f\n"
                     "ldr r1, =insitu_stack_top\n"
                     "mov sp, r1\n"
                     "1: ldr r1, =insitu_report\n"
                     "bx r1\n"
                     ".ltorg");
}

/* Stack pointer, reset, then the core's own exceptions; no peripheral is used. */
__attribute__((section(".vectors"), used)) static const struct {
    uint32_t *stack;
    void (*handlers[15])(void);
} vectors = {insitu_stack_top,
             {insitu_start, insitu_fault, insitu_fault, insitu_fault, insitu_fault, insitu_fault, insitu_fault,
              insitu_fault, insitu_fault, insitu_fault, insitu_fault, insitu_fault, insitu_fault, insitu_fault,
              insitu_fault}};
