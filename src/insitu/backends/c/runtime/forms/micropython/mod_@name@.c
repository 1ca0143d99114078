/* SPDX-License-Identifier: Apache-2.0
 *
 * The network as a module of MicroPython: init, infer, learn, scores, steps, save, load. One network, in static memory.
 */
#include "insitu_serial.h"

#include "py/obj.h"
#include "py/runtime.h"

static insitu_serial network;
static uint8_t slots[2u * INSITU_SLOT_BYTES];

static mp_obj_t init(void)
{
    insitu_serial_begin(&network);
    return mp_const_none;
}
static MP_DEFINE_CONST_FUN_OBJ_0(init_obj, init);

/* A list or tuple of numbers, in the units of the training data, becomes the next sample. */
static void take(mp_obj_t sample)
{
    size_t count;
    mp_obj_t *numbers;
    if (network.net.program == 0) {
        insitu_serial_begin(&network);
    }
    mp_obj_get_array(sample, &count, &numbers);
    if (count != INSITU_SAMPLE_VALUES) {
        mp_raise_ValueError(MP_ERROR_TEXT("a sample has another number of values: see SAMPLE"));
    }
    for (size_t i = 0; i < count; i++) {
        network.values[network.gathered * INSITU_SAMPLE_VALUES + i] = (float)mp_obj_get_float(numbers[i]);
    }
}

static int32_t class_of(mp_obj_t sample)
{
    take(sample);
    (void)insitu_quantize_input(network.values + network.gathered * INSITU_SAMPLE_VALUES, INSITU_SAMPLE_VALUES, network.x);
    return insitu_infer(&network.net, network.x);
}

static mp_obj_t infer(mp_obj_t sample)
{
    return mp_obj_new_int(class_of(sample));
}
static MP_DEFINE_CONST_FUN_OBJ_1(infer_obj, infer);

/* The class that the sample was taken for before it is learned. */
static mp_obj_t learn(mp_obj_t sample, mp_obj_t label)
{
    const mp_int_t index = mp_obj_get_int(label);
    int32_t said;
    if (index < 0 || index >= (mp_int_t)INSITU_CLASSES) {
        mp_raise_ValueError(MP_ERROR_TEXT("a label is a class from 0 to CLASSES - 1"));
    }
    said = class_of(sample);
    network.label = (uint32_t)index;
    if (insitu_serial_learn(&network, (uint32_t)said) != INSITU_OK) {
        mp_raise_ValueError(MP_ERROR_TEXT("the training step was refused"));
    }
    return mp_obj_new_int(said);
}
static MP_DEFINE_CONST_FUN_OBJ_2(learn_obj, learn);

/* Of the last infer. */
static mp_obj_t scores(void)
{
    mp_obj_t found[INSITU_CLASSES];
    for (uint32_t i = 0; i < INSITU_CLASSES; i++) {
        found[i] = mp_obj_new_int(insitu_score(&network.net, i));
    }
    return mp_obj_new_list(INSITU_CLASSES, found);
}
static MP_DEFINE_CONST_FUN_OBJ_0(scores_obj, scores);

static mp_obj_t steps(void)
{
    return mp_obj_new_int_from_uint(network.net.clock.t);
}
static MP_DEFINE_CONST_FUN_OBJ_0(steps_obj, steps);

static int put(void *where, uint32_t offset, const uint8_t *data, uint32_t size)
{
    insitu_copy_bytes((uint8_t *)where + offset, data, size);
    return 0;
}

/* Bytes for a file; load takes them back. */
static mp_obj_t save(void)
{
    if (insitu_state_save(&network.net, slots, put, slots) != INSITU_OK) {
        mp_raise_ValueError(MP_ERROR_TEXT("nothing to save: call init first"));
    }
    return mp_obj_new_bytes(slots, sizeof slots);
}
static MP_DEFINE_CONST_FUN_OBJ_0(save_obj, save);

static mp_obj_t load(mp_obj_t saved)
{
    mp_buffer_info_t given;
    if (network.net.program == 0) {
        insitu_serial_begin(&network);
    }
    mp_get_buffer_raise(saved, &given, MP_BUFFER_READ);
    if (given.len != sizeof slots) {
        mp_raise_ValueError(MP_ERROR_TEXT("no saved state of this network: its size is another"));
    }
    insitu_copy_bytes(slots, (const uint8_t *)given.buf, sizeof slots);
    if (insitu_state_load(&network.net, slots) != INSITU_OK) {
        mp_raise_ValueError(MP_ERROR_TEXT("no saved state of this network: it is damaged or foreign"));
    }
    network.gathered = 0;
    return mp_const_none;
}
static MP_DEFINE_CONST_FUN_OBJ_1(load_obj, load);

static const mp_rom_map_elem_t globals_table[] = {
    {MP_ROM_QSTR(MP_QSTR___name__), MP_ROM_QSTR(MP_QSTR_@name@)},
    {MP_ROM_QSTR(MP_QSTR_init), MP_ROM_PTR(&init_obj)},
    {MP_ROM_QSTR(MP_QSTR_infer), MP_ROM_PTR(&infer_obj)},
    {MP_ROM_QSTR(MP_QSTR_learn), MP_ROM_PTR(&learn_obj)},
    {MP_ROM_QSTR(MP_QSTR_scores), MP_ROM_PTR(&scores_obj)},
    {MP_ROM_QSTR(MP_QSTR_steps), MP_ROM_PTR(&steps_obj)},
    {MP_ROM_QSTR(MP_QSTR_save), MP_ROM_PTR(&save_obj)},
    {MP_ROM_QSTR(MP_QSTR_load), MP_ROM_PTR(&load_obj)},
    {MP_ROM_QSTR(MP_QSTR_SAMPLE), MP_ROM_INT(INSITU_SAMPLE_VALUES)},
    {MP_ROM_QSTR(MP_QSTR_CLASSES), MP_ROM_INT(INSITU_CLASSES)},
};
static MP_DEFINE_CONST_DICT(globals, globals_table);

const mp_obj_module_t @name@_module = {
    .base = {&mp_type_module},
    .globals = (mp_obj_dict_t *)&globals,
};
MP_REGISTER_MODULE(MP_QSTR_@name@, @name@_module);
