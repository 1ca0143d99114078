"""Networks as people bring them: what docs/own-network.md says of them is what happens."""

from __future__ import annotations

import json
import re

import pytest
from benchmarks.own_networks import MODULES, captured
from scripts.network_tables import RESULTS

FOUND = json.loads((RESULTS / "own_networks.json").read_text(encoding="utf-8"))


def test_the_stored_table_has_all_of_them() -> None:
    assert list(FOUND) == list(MODULES)


@pytest.mark.parametrize("name", MODULES)
def test_a_network_is_taken_or_refused_as_stored(name: str) -> None:
    net = captured(name)
    assert (net if isinstance(net, str) else None) == FOUND[name].get("refused")
    if isinstance(net, str):
        assert re.search(r"(Use|Remove|Give|Feed|use) ", net), f"{net}: no remedy"
