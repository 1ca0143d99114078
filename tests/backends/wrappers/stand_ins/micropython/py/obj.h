/* What a user C module takes of MicroPython: objects, and a table of functions. Nothing is freed. */
#ifndef PY_OBJ_H
#define PY_OBJ_H

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct {
    double number;
    size_t size;
    void *data; /* bytes, or objects */
} stand_in_object;
typedef const void *mp_obj_t;
typedef long mp_int_t;
typedef struct {
    void *buf;
    size_t len;
} mp_buffer_info_t;
typedef struct {
    int arguments;
    mp_obj_t (*none)(void);
    mp_obj_t (*one)(mp_obj_t);
    mp_obj_t (*two)(mp_obj_t, mp_obj_t);
} stand_in_function;
typedef struct {
    const char *key;
    const void *value;
} mp_rom_map_elem_t;
typedef struct {
    size_t size;
    const mp_rom_map_elem_t *table;
} mp_obj_dict_t;
typedef struct {
    const void *type;
} mp_obj_base_t;
typedef struct {
    mp_obj_base_t base;
    mp_obj_dict_t *globals;
} mp_obj_module_t;

static const int mp_type_module;
#define mp_const_none NULL
#define MP_ROM_QSTR(name) #name
#define MP_ROM_PTR(value) (value)
#define MP_ROM_INT(n) ((const void *)(uintptr_t)(n))
#define MP_DEFINE_CONST_FUN_OBJ_0(name, f) const stand_in_function name = {0, f, NULL, NULL}
#define MP_DEFINE_CONST_FUN_OBJ_1(name, f) const stand_in_function name = {1, NULL, f, NULL}
#define MP_DEFINE_CONST_FUN_OBJ_2(name, f) const stand_in_function name = {2, NULL, NULL, f}
#define MP_DEFINE_CONST_DICT(name, entries) const mp_obj_dict_t name = {sizeof entries / sizeof entries[0], entries}
#define MP_REGISTER_MODULE(name, module) const mp_obj_module_t *const stand_in_module = &module
#define MP_BUFFER_READ 1
#define MP_ERROR_TEXT(text) text

#endif
