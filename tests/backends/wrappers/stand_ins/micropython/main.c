/* As a program in Python would: learns lines of text, saves, forgets, loads, and prints what it saves then. */
#include "py/runtime.h"

extern const mp_obj_module_t *const stand_in_module;

static const stand_in_function *function(const char *name)
{
    for (size_t i = 0; i < stand_in_module->globals->size; i++) {
        if (strcmp(stand_in_module->globals->table[i].key + strlen("MP_QSTR_"), name) == 0) {
            return stand_in_module->globals->table[i].value;
        }
    }
    printf("no function %s\n", name);
    exit(2);
}

int main(void)
{
    static char line[65536];
    static mp_obj_t items[8192];
    mp_obj_t kept;
    const stand_in_object *bytes;
    function("init")->none();
    while (fgets(line, sizeof line, stdin) != NULL && line[0] != '!') {
        char *at = line;
        size_t count = 0;
        const long label = strtol(at, &at, 10);
        while (*++at && *at != '\n') {
            items[count++] = object_of(strtod(at, &at), 0, NULL, 0);
            at -= *at == '\n';
        }
        function("learn")->two(mp_obj_new_list(count, items), mp_obj_new_int(label));
    }
    kept = function("save")->none();
    function("init")->none();
    function("load")->one(kept);
    bytes = function("save")->none();
    for (size_t i = 0; i < bytes->size; i++) {
        printf("%02x", ((const uint8_t *)bytes->data)[i]);
    }
    printf(" %ld\n", mp_obj_get_int(function("steps")->none()));
    return 0;
}
