"""Networks of a user's own files."""

from __future__ import annotations

from pathlib import Path

import pytest

from insitu.errors import ConfigError
from insitu.network.torch.userfile import from_file

PARTS = "from torch import nn\n\ndef block(i, o):\n    return nn.Sequential(nn.Linear(i, o), nn.ReLU())\n"
NET = """from torch import nn
from parts import block

def make():
    return nn.Sequential(nn.Flatten(), block(64, 12), nn.Linear(12, 10))

def conv():
    return nn.Sequential(nn.Conv2d(1, 2, 3), nn.ReLU(), nn.Flatten(), nn.Linear(8, 3))

def wide():
    return nn.Linear(64, 10).requires_grad_(False)

class Ending(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(64, 10)

    def forward(self, x):
        raise SystemExit(0)

def ending():
    return Ending()

def number():
    return 3
"""


@pytest.fixture
def net(tmp_path: Path) -> str:
    (tmp_path / "parts.py").write_text(PARTS)
    (tmp_path / "net.py").write_text(NET)
    return str(tmp_path / "net.py")


def test_a_network_of_two_files(net: str) -> None:
    found = from_file(f"{net}:make", (1, 8, 8))
    assert (found.name, found.input_shape, found.outputs) == ("net:make", (1, 8, 8), 10)


@pytest.mark.parametrize("shape", [(3, 9), (1, 3, 9), (3, 1, 9)])
def test_a_sequence_in_every_form_that_data_have(tmp_path: Path, shape: tuple[int, ...]) -> None:
    path = tmp_path / "line.py"
    path.write_text(
        "from torch import nn\ndef make():\n    return nn.Sequential(nn.Conv1d(3, 2, 3), nn.Flatten())\n"
    )
    assert from_file(f"{path}:make", shape).input_shape == (3, 1, 9)


def test_the_input_of_a_first_dense_layer_is_known(net: str) -> None:
    assert from_file(f"{net}:make", None).input_shape == (64,)


@pytest.mark.parametrize(
    ("function", "reason"),
    [
        ("conv", "does not begin with a dense layer; say what a sample is: --input 1x28x28"),
        ("ending", "the function failed at net.py:.*SystemExit: 0"),
        ("number", "returned int; return a torch.nn.Module"),
    ],
)
def test_what_cannot_be_captured_is_refused(net: str, function: str, reason: str) -> None:
    with pytest.raises(ConfigError, match=reason):
        from_file(f"{net}:{function}", None)


def test_the_same_seed_gives_the_same_values(net: str) -> None:
    first, second, other = (from_file(f"{net}:make", (64,), seed).params for seed in (1, 1, 2))
    assert all((first[name] == second[name]).all() for name in first)
    assert any((first[name] != other[name]).any() for name in first)
