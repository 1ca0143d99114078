"""Firmware's way from sensor values to the words of a sample is that of training: one C function, all input formats."""

from __future__ import annotations

import ctypes
import re
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path
from tempfile import mkdtemp

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from insitu.backends.c.host import WARNINGS, compiler
from insitu.backends.c.interface import input_defines
from insitu.backends.c.memory import packed
from insitu.backends.c.templates import RUNTIME
from insitu.numbers.formats import Fixed
from insitu.run.samples import as_integers
from insitu.step.ir import Role, Value

pytestmark = pytest.mark.skipif(shutil.which("gcc") is None, reason="the C engine needs gcc")

OK, NO_ARGUMENT, BAD_SIZE = 0, -1, -6
BATCH = 2

HEADER = """#ifndef INSITU_NET_H
#define INSITU_NET_H
#include "insitu_kernels.h"
typedef enum { INSITU_OK = 0, INSITU_NO_ARGUMENT = -1, INSITU_BAD_SIZE = -6 } insitu_status;
extern uint32_t insitu_given_values;
extern float insitu_given_unit;
extern int32_t insitu_given_zero, insitu_given_least, insitu_given_most;
extern uint8_t insitu_given_bits, insitu_given_form;
#define INSITU_BATCH 2u
#define INSITU_SAMPLE_VALUES insitu_given_values
#define INSITU_INPUT_UNIT insitu_given_unit
#define INSITU_INPUT_ZERO insitu_given_zero
#define INSITU_INPUT_LEAST insitu_given_least
#define INSITU_INPUT_MOST insitu_given_most
#define INSITU_INPUT_BITS insitu_given_bits
#define INSITU_INPUT_FORM insitu_given_form
insitu_status insitu_quantize_input(const float *values, uint32_t count, uint8_t *x);
#endif
"""
"""What a program's header says of its input, as variables: it is compiled once for all formats."""

TYPES = {"values": ctypes.c_uint32, "unit": ctypes.c_float, "bits": ctypes.c_uint8, "form": ctypes.c_uint8}


@cache
def compiled() -> ctypes.CDLL:
    """``input.c`` with such a header."""
    folder = Path(mkdtemp(prefix="insitu-input-"))
    (folder / "insitu_net.h").write_text(HEADER)
    for name in ("insitu_kernels.h", "insitu_updates.h", "input.c"):
        shutil.copy(RUNTIME / name, folder)
    given = re.findall(r"^extern (.*;)$", HEADER, re.MULTILINE)
    (folder / "given.c").write_text('#include "insitu_net.h"\n' + "\n".join(given))
    sources = [str(folder / "input.c"), str(folder / "given.c"), str(RUNTIME / "kernels" / "words.c")]
    library = folder / "input.so"
    subprocess.run(
        [compiler(), *WARNINGS, f"-I{folder}", "-O2", "-fPIC", "-shared", *sources, "-o", str(library)],
        check=True,
    )
    found = ctypes.CDLL(str(library))
    shutil.rmtree(folder)
    return found


def number(text: str) -> float:
    """A constant of the header."""
    forms = ("INSITU_UNSIGNED", "INSITU_SIGNED")
    if text in forms:
        return forms.index(text)
    return float(sum(map(float, re.findall(r"-?[\d.]+(?:e[+-]?\d+)?", text.replace(" - ", " -")))))


def quantizer(value: Value) -> Callable[[npt.NDArray[np.float32]], tuple[int, bytes]]:
    """Status and words that C makes of values, by what the header of a program with such an input says."""
    c = compiled()
    for name, text in input_defines(value).items():
        short = name.removeprefix("INPUT_").removeprefix("SAMPLE_").lower()
        kind = TYPES.get(short, ctypes.c_int32)
        kind.in_dll(c, f"insitu_given_{short}").value = number(text) if short == "unit" else int(number(text))

    def run(values: npt.NDArray[np.float32]) -> tuple[int, bytes]:
        x = ctypes.create_string_buffer((values.size * value.format.bits + 7) // 8)
        pointer = values.ctypes.data_as(ctypes.POINTER(ctypes.c_float))
        return c.insitu_quantize_input(pointer, ctypes.c_uint32(values.size), x), x.raw

    return run


FORMATS = st.builds(lambda signed, bits: Fixed(signed, bits - signed, 0), st.booleans(), st.integers(1, 16))
UNITS = st.one_of(st.integers(-20, 10).map(lambda k: 2.0**k), st.floats(1e-6, 1e3, allow_subnormal=False))
REALS = arrays(np.float32, BATCH * 7, elements=st.floats(width=32, allow_nan=False))


@pytest.mark.filterwarnings("ignore:overflow encountered in divide")
@given(FORMATS, UNITS, st.integers(-200, 200), REALS, st.data())
@settings(deadline=None, max_examples=100)
def test_the_words_are_those_of_training(
    fmt: Fixed, unit: float, zero: int, reals: npt.NDArray[np.float32], data: st.DataObject
) -> None:
    value = Value("x", (1, 7), fmt, Role.ACTIVATION, unit=unit, zero=zero)
    near = data.draw(
        arrays(np.int64, BATCH * 7, elements=st.integers(2 * fmt.least - 2, 2 * fmt.greatest + 2))
    )
    ties = ((near / 2.0 - zero) * unit).astype(np.float32)  # and the words between them
    batch = replace(value, shape=(BATCH, 7))
    for values in (reals, ties):
        assert quantizer(value)(values) == (OK, packed(batch, as_integers(value, values)))


def test_what_is_no_whole_sample_or_no_number() -> None:
    value = Value("x", (1, 3), Fixed(True, 7, 0), Role.ACTIVATION, unit=0.5)
    run = quantizer(value)
    for count, status in ((3, OK), (6, OK), (2, BAD_SIZE), (9, BAD_SIZE)):
        assert run(np.zeros(count, np.float32)) == (status, bytes(count))
    assert run(np.array([np.nan, np.inf, -np.inf], np.float32)) == (OK, bytes([0x80, 0x7F, 0x80]))
    assert compiled().insitu_quantize_input(None, 3, None) == NO_ARGUMENT
