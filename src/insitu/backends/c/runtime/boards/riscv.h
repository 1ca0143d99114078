/* SPDX-License-Identifier: Apache-2.0
 *
 * What start-up needs of a RISC-V core in machine mode: a call of the emulator (RISC-V semihosting), the first
 * instructions, and a report of faults.
 */
void insitu_reset(void);
void insitu_fault(void);
void insitu_report(uint32_t pc, uint32_t ra, uint32_t sp) __attribute__((noreturn, used));

static void enable(void) {
}

/* The three instructions have 32 bits each and lie in one page. */
static void host(uint32_t operation, const void *argument) {
    register uint32_t a0 __asm__("a0") = operation;
    register const void *a1 __asm__("a1") = argument;
    __asm__ volatile(".option push\n"
                     ".option norvc\n"
                     ".balign 16\n"
                     "slli zero, zero, 0x1f\n"
                     "ebreak\n"
                     "srai zero, zero, 7\n"
                     ".option pop"
                     : "+r"(a0)
                     : "r"(a1)
                     : "memory");
}

/* Below the limit there is no memory: the stack pointer had passed it. */
void insitu_report(uint32_t pc, uint32_t ra, uint32_t sp) {
    if (sp < (uintptr_t)insitu_stack_limit || sp > (uintptr_t)insitu_stack_top) {
        print("insitu-fault: stack overflow\n");
    } else {
        print("insitu-fault: at pc 0x");
        print_hex(pc);
        print(", lr 0x");
        print_hex(ra);
        print("\n");
    }
    insitu_exit(FAULTED);
}

/* The report has the stack to itself: what was on it is lost. */
__attribute__((naked, aligned(4))) void insitu_fault(void) {
    __asm__ volatile(".option push\n"
                     ".option arch, +zicsr\n"
                     "csrr a0, mepc\n"
                     ".option pop\n"
                     "mv a1, ra\n"
                     "mv a2, sp\n"
                     "la sp, insitu_stack_top\n"
                     "j insitu_report");
}

/* Where the core begins. */
__attribute__((naked, section(".vectors"), used)) void insitu_reset(void) {
    __asm__ volatile("la sp, insitu_stack_top\n"
                     "la t0, insitu_fault\n"
                     ".option push\n"
                     ".option arch, +zicsr\n"
                     "csrw mtvec, t0\n"
                     ".option pop\n"
                     "j insitu_start");
}
