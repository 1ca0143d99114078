"""Arrays from outside: what is damaged is one refusal, for data and for a start."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from insitu.errors import ConfigError, DataError
from insitu.experiment.pretrained import parameters
from insitu.inputs import arrays


def good() -> bytes:
    stream = io.BytesIO()
    np.savez(stream, **{"fc1.weight": np.arange(64, dtype="f4").reshape(16, 4)})
    return stream.getvalue()


def npy() -> bytes:
    stream = io.BytesIO()
    np.save(stream, np.zeros(3))
    return stream.getvalue()


def raw_member(content: bytes = b"abc", name: str = "fc1.weight", times: int = 1) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        for _ in range(times):
            archive.writestr(name, content)
    return stream.getvalue()


def flipped(at: int) -> bytes:
    raw = bytearray(good())
    raw[at] ^= 255
    return bytes(raw)


def pickled() -> bytes:
    stream = io.BytesIO()
    np.savez(stream, a=np.array([print], dtype=object))
    return stream.getvalue()


DAMAGED = {
    "empty": b"",
    "cut": good()[:300],
    "flip": flipped(300),
    "npy": npy(),
    "bytes": raw_member(),
    "bytes as npy": raw_member(name="a.npy"),
    "pickle": pickled(),
    "twice": raw_member(npy(), "a.npy", 2),
    "text": b"weights",
}


@pytest.mark.filterwarnings("ignore:Duplicate name")
@pytest.mark.parametrize("name", DAMAGED)
def test_a_damaged_file_is_refused(tmp_path: Path, name: str) -> None:
    path = tmp_path / "a.npz"
    path.write_bytes(DAMAGED[name])
    with pytest.raises(DataError, match=r"a\.npz.*Store"):
        arrays.read(path, "Store arrays.")
    with pytest.raises(ConfigError, match=r"a\.npz.*Give a finished run folder, an \.npz of arrays"):
        parameters(str(path))


@pytest.mark.parametrize("place", ["/dev/null", "/"])
def test_what_is_no_file_is_refused(place: str) -> None:
    with pytest.raises(ConfigError, match=r"not a readable|there is no"):
        parameters(place)


@settings(max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(st.integers(0, len(good()) - 1), st.integers(1, 255), st.booleans())
def test_any_byte_may_be_wrong(tmp_path: Path, at: int, change: int, cut: bool) -> None:
    raw = bytearray(good())
    raw[at] ^= change
    path = tmp_path / "a.npz"
    path.write_bytes(bytes(raw[:at]) if cut else bytes(raw))
    try:
        found = arrays.read(path, "Store arrays.")
    except DataError:
        return
    assert all(isinstance(array, np.ndarray) for array in found.values())


def test_an_archive_that_claims_too_much_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(arrays, "MAX_BYTES", 100)
    path = tmp_path / "a.npz"
    path.write_bytes(good())
    with pytest.raises(DataError, match="claim more than"):
        arrays.read(path, "Store arrays.")


def test_a_state_dict_of_torch_is_a_start(tmp_path: Path) -> None:
    path = tmp_path / "a.pt"
    torch.save({"fc1.weight": torch.ones(2, 3, dtype=torch.float64)}, path)
    found = parameters(str(path))
    assert found["fc1.weight"].dtype == np.float32 and found["fc1.weight"].tolist() == [[1, 1, 1], [1, 1, 1]]


class Run:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return (exec, ("raise SystemExit",))


@pytest.mark.parametrize("content", [[1, 2], {"a": 1}, Run(), {"a": Run()}])
def test_other_contents_of_torch_are_refused_and_not_run(tmp_path: Path, content: object) -> None:
    path = tmp_path / "a.pt"
    torch.save(content, path)
    with pytest.raises(ConfigError, match=r"state dict"):
        parameters(str(path))


@pytest.mark.parametrize("raw", [b"", b"abc", good()])
def test_damaged_state_dicts_are_refused(tmp_path: Path, raw: bytes) -> None:
    path = tmp_path / "a.pt"
    path.write_bytes(raw)
    with pytest.raises(ConfigError, match=r"state dict"):
        parameters(str(path))


def test_arrays_that_are_no_numbers_are_refused(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", a=np.array(["x"]))
    with pytest.raises(ConfigError, match="'a' holds <U1, no numbers"):
        parameters(str(tmp_path / "a.npz"))
