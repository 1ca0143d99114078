/* SPDX-License-Identifier: Apache-2.0
 *
 * A plugin of QEMU 7 (TCG plugin API version 1) that counts the instructions a guest retires, function by function.
 *
 *     -plugin counts.so,ranges=<file>,out=<file>
 *
 * ranges: a line "<first address> <address after it>" in hexadecimal for each function, ascending, not overlapping.
 * out: a line with the count of each, in the same order, then one line with what lay in none of them.
 * An instruction that its condition switches off counts too: it costs an issue slot.
 */
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* --- what this file uses of the plugin API ------------------------------------------------------------------- */

struct qemu_plugin_tb;   /* a translated block */
struct qemu_plugin_insn; /* an instruction of it */
struct qemu_info;        /* not read */
enum { ADD_U64 };        /* the only inline operation: *counter += amount */

void qemu_plugin_register_vcpu_tb_trans_cb(uint64_t id, void (*call)(uint64_t id, struct qemu_plugin_tb *block));
void qemu_plugin_register_vcpu_insn_exec_inline(struct qemu_plugin_insn *insn, int operation, void *counter,
                                                uint64_t amount);
void qemu_plugin_register_atexit_cb(uint64_t id, void (*call)(uint64_t id, void *data), void *data);
size_t qemu_plugin_tb_n_insns(const struct qemu_plugin_tb *block);
struct qemu_plugin_insn *qemu_plugin_tb_get_insn(const struct qemu_plugin_tb *block, size_t index);
uint64_t qemu_plugin_insn_vaddr(const struct qemu_plugin_insn *insn);

#define VISIBLE __attribute__((visibility("default")))
VISIBLE extern int qemu_plugin_version;
VISIBLE int qemu_plugin_install(uint64_t id, const struct qemu_info *info, int argc, char **argv);

/* ------------------------------------------------------------------------------------------------------------- */

typedef struct {
    uint64_t first, after, count;
} range;

int qemu_plugin_version = 1;

static range *ranges;
static size_t known;
static uint64_t elsewhere;
static const char *out;

static uint64_t *counter_of(uint64_t address) {
    size_t low = 0, high = known; /* the answer, if any, is in [low, high) */
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (address < ranges[middle].first) high = middle;
        else if (address >= ranges[middle].after) low = middle + 1;
        else return &ranges[middle].count;
    }
    return &elsewhere;
}

static void translated(uint64_t id, struct qemu_plugin_tb *block) {
    (void)id;
    for (size_t i = 0; i < qemu_plugin_tb_n_insns(block); i++) {
        struct qemu_plugin_insn *insn = qemu_plugin_tb_get_insn(block, i);
        qemu_plugin_register_vcpu_insn_exec_inline(insn, ADD_U64, counter_of(qemu_plugin_insn_vaddr(insn)), 1);
    }
}

static void ended(uint64_t id, void *data) {
    FILE *file = fopen(out, "w");
    (void)id, (void)data;
    if (!file) {
        perror(out);
        return;
    }
    for (size_t i = 0; i < known; i++) fprintf(file, "%" PRIu64 "\n", ranges[i].count);
    fprintf(file, "%" PRIu64 "\n", elsewhere);
    fclose(file);
}

static bool read_ranges(const char *path) {
    FILE *file = fopen(path, "r");
    range next = {0, 0, 0};
    if (!file) return false;
    while (fscanf(file, "%" SCNx64 " %" SCNx64, &next.first, &next.after) == 2) {
        range *more = realloc(ranges, (known + 1) * sizeof *more);
        if (!more) break;
        ranges = more;
        ranges[known++] = next;
    }
    bool whole = feof(file) != 0;
    fclose(file);
    return whole;
}

int qemu_plugin_install(uint64_t id, const struct qemu_info *info, int argc, char **argv) {
    const char *from = NULL;
    (void)info;
    for (int i = 0; i < argc; i++) {
        if (!strncmp(argv[i], "ranges=", 7)) from = argv[i] + 7;
        if (!strncmp(argv[i], "out=", 4)) out = argv[i] + 4;
    }
    if (!from || !out || !read_ranges(from)) {
        fprintf(stderr, "counts: needs ranges=<file that can be read>,out=<file>\n");
        return 1;
    }
    qemu_plugin_register_vcpu_tb_trans_cb(id, translated);
    qemu_plugin_register_atexit_cb(id, ended, NULL);
    return 0;
}
