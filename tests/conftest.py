"""Shared set-up: one torch thread (two pytest workers share two cores), and where the real data lie."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch

torch.set_num_threads(1)

SHARED_DATA = Path(__file__).resolve().parents[1].parent / "shared" / "data"


@pytest.fixture(autouse=True)
def _own_state(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the tests trust, they alone trust."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path_factory.getbasetemp() / "state"))


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder of the real data sets, or a skip that says what is missing."""
    for place in (os.environ.get("INSITU_DATA"), SHARED_DATA):
        if place and (Path(place) / "MNIST").is_dir():
            return Path(place)
    pytest.skip("the real data sets are not there; set INSITU_DATA to the folder that holds MNIST/raw")
