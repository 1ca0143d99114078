"""Proofs by SAT of the engine's arithmetic, over all inputs; and that each finds a mistake."""

import pytest

pytest.importorskip("amaranth", reason="the extra 'fpga' is not installed")
pytest.importorskip("pyosys", reason="the extra 'fpga' is not installed")

from insitu.backends.rtl.proofs import claims, prove

NAMES = [claim.name for claim in claims()]


def test_no_input_makes_a_claim_false():
    assert prove(claims()) == dict.fromkeys(NAMES, True)


def test_a_mistake_in_any_of_them_is_found():
    assert prove(claims(mistake=True)) == dict.fromkeys(NAMES, False)
