"""Microcode from nests: steps rewind what is inside a loop, known registers are not written again, branches forget."""

import numpy as np
import pytest

from insitu.backends.engine import isa
from insitu.backends.engine.microcode import Code, Loop, Nest
from insitu.backends.engine.nest import Nest as Running
from insitu.backends.engine.nest import Registers
from insitu.errors import ConfigError


def nest(*rounds: Loop, **starts: int) -> Nest:
    return Nest("a nest", [], rounds, {}, starts or {"x": 0})


def registers(code: Code) -> Registers:
    found = Registers()
    for word in code.words:
        found.put(*isa.decode(word))
    return found


def test_addresses_are_those_of_nested_loops() -> None:
    code = Code()
    code.run(nest(Loop(3, x=2, d=1), Loop(4, x=-5, d=100), Loop(2, x=7), x=1000, d=0))
    streams = Running(registers(code).values, 15).streams
    expected = [
        (1000 + 2 * i - 5 * j + 7 * k, i + 100 * j) for k in range(2) for j in range(4) for i in range(3)
    ]
    assert np.stack([streams.x, streams.d], 1).tolist() == [list(pair) for pair in expected]


def test_addresses_wrap() -> None:
    code = Code()
    code.run(nest(Loop(2, x=20000), Loop(2, x=3), x=0))
    assert Running(registers(code).values, 13).streams.x.tolist() == [0, 20000 % 8192, 3, 20003 % 8192]


def test_long_loops_are_split_and_what_cannot_be_is_refused() -> None:
    code = Code()
    code.run(nest(Loop(3000, x=1)))
    assert Running(registers(code).values, 15).streams.x.tolist() == list(range(3000))
    with pytest.raises(ConfigError, match="a loop of 1031 rounds cannot be split"):
        Code().run(nest(Loop(1031, x=1)))
    with pytest.raises(ConfigError, match="a nest needs 7 loops; the engine has 6"):
        Code().run(nest(*[Loop(2, x=1)] * 7))


def test_the_same_nest_again_is_one_word() -> None:
    code = Code()
    code.run(nest(Loop(3, x=2)))
    before = len(code.words)
    code.run(nest(Loop(3, x=2)))
    assert [isa.decode(word)[0].name for word in code.words[before:]] == ["GO"]
    code.run(nest(Loop(3, x=2), x=8))
    assert [isa.decode(word)[0].name for word in code.words[before + 1 :]] == ["BX", "GO"]


def test_behind_a_branch_nothing_is_known_that_it_may_have_passed_over() -> None:
    code = Code()
    code.run(nest(Loop(3, x=2)))
    with code.unless_silent(1):
        code.run(nest(Loop(3, x=2), x=8))
    before = len(code.words)
    code.run(nest(Loop(3, x=2), x=8))
    assert [isa.decode(word)[0].name for word in code.words[before:]] == ["BX", "GO"]
    branch = next(isa.decode(word)[2] for word in code.words if isa.decode(word)[0].name == "BRZ")
    assert branch == {"target": before, "flags": 1}
