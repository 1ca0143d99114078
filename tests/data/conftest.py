"""Where the real data lie, small files to load, and a local mirror to fetch from."""

from __future__ import annotations

import gzip
import os
import struct
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest


def shared_data() -> Path | None:
    """The folder of real data: INSITU_DATA, else `shared/data` beside the repository; None when absent."""
    places = [os.environ.get("INSITU_DATA"), Path(__file__).parents[3] / "shared" / "data"]
    return next((Path(p) for p in places if p and (Path(p) / "MNIST" / "raw").is_dir()), None)


_SHARED = shared_data()


@pytest.fixture
def real_data() -> Path:
    """The folder of real data, or a skip."""
    if _SHARED is None:
        pytest.skip("real data are absent: set INSITU_DATA, or put them into ../shared/data")
    return _SHARED


@pytest.fixture(autouse=True)
def lone_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """No test sees the user's folders or mirrors; returns the empty cache folder in use."""
    for name in ("INSITU_DATA", "INSITU_MIRROR", "http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "insitu"


def idx_bytes(array: np.ndarray) -> bytes:
    """`array` (uint8) in the idx format."""
    head = bytes((0, 0, 8, array.ndim)) + struct.pack(f">{array.ndim}I", *array.shape)
    return head + array.astype(np.uint8).tobytes()


def write_mnist(
    root: Path, folder: str = "MNIST/raw", zipped: bool = True, train: int = 30, test: int = 20
) -> Path:
    """A small set in MNIST's layout; image k is filled with k, label k % 10. Returns its folder."""
    raw = root / folder
    raw.mkdir(parents=True, exist_ok=True)
    for part, count in (("train", train), ("t10k", test)):
        images = np.broadcast_to(np.arange(count)[:, None, None], (count, 28, 28))
        for kind, array in (("images-idx3", images), ("labels-idx1", np.arange(count) % 10)):
            content = idx_bytes(array)
            name = f"{part}-{kind}-ubyte"
            if zipped:
                (raw / f"{name}.gz").write_bytes(gzip.compress(content))
            else:
                (raw / name).write_bytes(content)
    return raw


@dataclass
class Mirror:
    """A web server on 127.0.0.1. `files` maps paths to bytes; the switches spoil the answers."""

    url: str = ""
    files: dict[str, bytes] = field(default_factory=dict)
    log: list[tuple[str, str | None]] = field(default_factory=list)  # (path, Range header)
    ranges: bool = True  # answer Range with 206; False: always 200 and the whole file
    cut: list[int] = field(default_factory=list)  # one entry per answer: send only so many bytes of the body
    wrong_range: bool = False  # claim another start than the one asked for
    chunked: bool = False  # no Content-Length


def _handler(mirror: Mirror) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *args: object) -> None:
            pass

        def do_GET(self) -> None:
            asked = self.headers.get("Range")
            mirror.log.append((self.path, asked))
            body = mirror.files.get(self.path)
            if body is None:
                self.send_error(404)
                return
            start = int(asked[len("bytes=") : -1]) if asked and mirror.ranges else 0
            if start and start >= len(body):
                self.send_error(416)
                return
            self.send_response(206 if start else 200)
            if start:
                shift = 1 if mirror.wrong_range else 0
                self.send_header("Content-Range", f"bytes {start + shift}-{len(body) - 1}/{len(body)}")
            if not mirror.chunked:
                self.send_header("Content-Length", str(len(body) - start))
            self.end_headers()
            stop = start + mirror.cut.pop(0) if mirror.cut else len(body)
            self.wfile.write(body[start:stop])

    return Handler


@pytest.fixture
def mirror() -> Iterator[Mirror]:
    """A running local mirror."""
    state = Mirror()
    server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(state))
    state.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    yield state
    server.shutdown()
    server.server_close()
    thread.join()
