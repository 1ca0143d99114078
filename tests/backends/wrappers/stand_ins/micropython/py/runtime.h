#ifndef PY_RUNTIME_H
#define PY_RUNTIME_H

#include "py/obj.h"

static inline stand_in_object *object_of(double number, size_t size, const void *data, size_t bytes)
{
    stand_in_object *made = calloc(1, sizeof *made);
    made->number = number;
    made->size = size;
    made->data = malloc(bytes + 1u);
    if (bytes > 0u) {
        memcpy(made->data, data, bytes);
    }
    return made;
}
static inline mp_obj_t mp_obj_new_int(mp_int_t n) { return object_of((double)n, 0, NULL, 0); }
static inline mp_obj_t mp_obj_new_int_from_uint(unsigned long n) { return object_of((double)n, 0, NULL, 0); }
static inline mp_obj_t mp_obj_new_bytes(const uint8_t *data, size_t size) { return object_of(0, size, data, size); }
static inline mp_obj_t mp_obj_new_list(size_t n, mp_obj_t *items) { return object_of(0, n, items, n * sizeof *items); }
static inline mp_int_t mp_obj_get_int(mp_obj_t of) { return (mp_int_t)((const stand_in_object *)of)->number; }
static inline double mp_obj_get_float(mp_obj_t of) { return ((const stand_in_object *)of)->number; }
static inline void mp_obj_get_array(mp_obj_t of, size_t *size, mp_obj_t **items)
{
    *size = ((const stand_in_object *)of)->size;
    *items = ((const stand_in_object *)of)->data;
}
static inline void mp_get_buffer_raise(mp_obj_t of, mp_buffer_info_t *found, int how)
{
    (void)how;
    found->len = ((const stand_in_object *)of)->size;
    found->buf = ((const stand_in_object *)of)->data;
}
static inline _Noreturn void mp_raise_ValueError(const char *text)
{
    printf("ValueError: %s\n", text);
    exit(1);
}

#endif
