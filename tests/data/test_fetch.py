"""Fetching, against a web server on 127.0.0.1 that behaves well or badly."""

from __future__ import annotations

import hashlib
import http.server
import importlib
import io
import socket
import tarfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from insitu.data import fetch as fetch_function
from insitu.data import mirrors
from insitu.data.mirrors import Remote, RemoteFile
from insitu.errors import ConfigError, DataError

fetch_module = importlib.import_module("insitu.data.fetch")  # the name in the package is the function

BODY = bytes(range(256)) * 1000
NAME = "train-images-idx3-ubyte.gz"


def sha(body: bytes) -> str:
    return hashlib.sha256(body).hexdigest()


@pytest.fixture(autouse=True)
def one_small_file(monkeypatch: pytest.MonkeyPatch) -> None:
    """`mnist` is one small file here, and no attempt waits."""
    files = (RemoteFile(NAME, sha(BODY), len(BODY), "MNIST/raw"),)
    monkeypatch.setitem(mirrors.REMOTES, "mnist", Remote(("http://127.0.0.1:9/public",), files))
    monkeypatch.setattr(fetch_module, "PAUSE_S", 0.0)
    monkeypatch.setattr(fetch_module, "TIMEOUT_S", 5.0)


def get(mirror, root: Path, **more) -> list[Path]:
    return fetch_function("mnist", data_dir=root, base_urls={"mnist": mirror.url}, **more)


def leave_part(root: Path, content: bytes) -> Path:
    part = root / "MNIST/raw" / f"{NAME}.part"
    part.parent.mkdir(parents=True)
    part.write_bytes(content)
    return part


def test_a_file_is_fetched_with_progress_and_no_part_is_left(mirror, tmp_path):
    mirror.files[f"/{NAME}"] = BODY
    seen = []
    paths = get(mirror, tmp_path, progress=lambda *event: seen.append(event))
    assert paths == [tmp_path / "MNIST/raw" / NAME]
    assert paths[0].read_bytes() == BODY
    assert seen[-1] == (NAME, len(BODY), len(BODY))
    assert [p.name for p in paths[0].parent.iterdir()] == [NAME]


def test_a_right_file_is_not_fetched_again_and_a_wrong_one_is_replaced(mirror, tmp_path):
    mirror.files[f"/{NAME}"] = BODY
    (path,) = get(mirror, tmp_path)
    get(mirror, tmp_path)
    assert len(mirror.log) == 1
    path.write_bytes(b"damaged")
    get(mirror, tmp_path)
    assert len(mirror.log) == 2
    assert path.read_bytes() == BODY


def test_a_part_is_continued_with_range(mirror, tmp_path):
    mirror.files[f"/{NAME}"] = BODY
    leave_part(tmp_path, BODY[:1000])
    (path,) = get(mirror, tmp_path)
    assert mirror.log == [(f"/{NAME}", "bytes=1000-")]
    assert path.read_bytes() == BODY


def test_a_server_without_range_makes_it_start_again(mirror, tmp_path):
    mirror.files[f"/{NAME}"] = BODY
    mirror.ranges = False
    leave_part(tmp_path, b"x" * 1000)
    (path,) = get(mirror, tmp_path)
    assert len(mirror.log) == 1
    assert path.read_bytes() == BODY


def test_a_wrong_part_is_noticed_by_its_hash_and_fetched_from_the_start(mirror, tmp_path):
    mirror.files[f"/{NAME}"] = BODY
    leave_part(tmp_path, b"x" * 1000)
    (path,) = get(mirror, tmp_path)
    assert [asked for _, asked in mirror.log] == ["bytes=1000-", None]
    assert path.read_bytes() == BODY


@pytest.mark.parametrize("content", [b"x" * len(BODY), b"x" * (len(BODY) + 5)])
def test_a_part_that_is_too_long_is_dropped(mirror, tmp_path, content):
    mirror.files[f"/{NAME}"] = BODY
    leave_part(tmp_path, content)
    assert get(mirror, tmp_path)[0].read_bytes() == BODY
    assert mirror.log == [(f"/{NAME}", None)]


def test_a_whole_part_needs_no_network(mirror, tmp_path):
    part = leave_part(tmp_path, BODY)
    assert get(mirror, tmp_path)[0].read_bytes() == BODY
    assert mirror.log == []
    assert not part.exists()


def test_another_range_than_asked_for_is_not_appended(mirror, tmp_path):
    mirror.files[f"/{NAME}"] = BODY
    mirror.wrong_range = True
    leave_part(tmp_path, BODY[:1000])
    assert get(mirror, tmp_path)[0].read_bytes() == BODY
    assert [asked for _, asked in mirror.log] == ["bytes=1000-", None]


@pytest.mark.parametrize("chunked", [False, True])
def test_a_truncated_transfer_is_continued_by_the_retry(mirror, tmp_path, chunked):
    mirror.files[f"/{NAME}"] = BODY
    mirror.cut = [5000]
    mirror.chunked = chunked
    assert get(mirror, tmp_path)[0].read_bytes() == BODY
    assert [asked for _, asked in mirror.log] == ([None, None] if chunked else [None, "bytes=5000-"])


def test_a_transfer_that_stays_truncated_keeps_the_part_for_the_next_call(mirror, tmp_path):
    mirror.files[f"/{NAME}"] = BODY
    mirror.cut = [5000, 100]
    with pytest.raises(DataError, match=r"broke off after 5100 of 256000 bytes.*it continues"):
        get(mirror, tmp_path)
    folder = tmp_path / "MNIST/raw"
    assert [p.name for p in folder.iterdir()] == [f"{NAME}.part"]
    assert get(mirror, tmp_path)[0].read_bytes() == BODY
    assert mirror.log[-1][1] == "bytes=5100-"


@pytest.mark.parametrize("body", [BODY[::-1], BODY + b"more", b"<html>sign in</html>"])
def test_a_wrong_file_never_gets_its_name(mirror, tmp_path, body):
    mirror.files[f"/{NAME}"] = body
    with pytest.raises(DataError, match=r"could not be fetched.*(SHA-256|bytes).*INSITU_MIRROR"):
        get(mirror, tmp_path)
    assert not (tmp_path / "MNIST/raw" / NAME).exists()


def test_the_next_mirror_is_used_and_all_are_named_when_all_fail(mirror, tmp_path):
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        closed = f"http://127.0.0.1:{probe.getsockname()[1]}"
    bases = [closed, f"{mirror.url}/none", mirror.url]
    with pytest.raises(DataError) as caught:
        fetch_function("mnist", data_dir=tmp_path, base_urls={"mnist": bases})
    text = str(caught.value)
    assert "\n" not in text
    assert f"{closed}/{NAME} (" in text and "refused" in text
    assert f"{mirror.url}/none/{NAME} (HTTP 404" in text
    mirror.files[f"/{NAME}"] = BODY
    (path,) = fetch_function("mnist", data_dir=tmp_path, base_urls={"mnist": bases})
    assert path.read_bytes() == BODY


def test_a_mirror_that_hangs_times_out(tmp_path, monkeypatch):
    monkeypatch.setattr(fetch_module, "TIMEOUT_S", 0.1)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        base = f"http://127.0.0.1:{silent.getsockname()[1]}"
        with pytest.raises(DataError, match="timed out"):
            fetch_function("mnist", data_dir=tmp_path, base_urls={"mnist": base})


class Liar(http.server.BaseHTTPRequestHandler):
    """Bodies without end, and redirects in a circle, to a file of this machine, and to another scheme."""

    def do_GET(self) -> None:
        kind = self.path.split("/")[1]
        if kind == "endless":
            self.send_response(200)
            self.end_headers()
            try:
                while True:
                    self.wfile.write(b"x" * 65536)
            except OSError:
                return
        if kind == "headers":
            try:
                self.wfile.write(b"HTTP/1.0 200 OK\r\nX: ")
                while True:
                    self.wfile.write(b"x")
                    time.sleep(0.02)
            except OSError:
                return
        if kind == "drip":
            self.send_response(200)
            self.send_header("Content-Length", str(len(BODY)))
            self.end_headers()
            for byte in BODY:
                self.wfile.write(bytes([byte]))
                time.sleep(0.02)
        self.send_response(302)
        self.send_header(
            "Location",
            {"circle": self.path, "file": "file:///etc/hostname", "ftp": "ftp://127.0.0.1:9/a"}[kind],
        )
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Says nothing."""


@pytest.fixture
def liar() -> Iterator[str]:
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Liar)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


@pytest.mark.parametrize(
    ("kind", "reason"),
    [
        ("endless", "longer than the published"),
        ("circle", "HTTP 302"),
        ("file", "HTTP 302"),
        ("ftp", "could not be fetched"),
    ],
)
def test_a_server_that_lies_gives_no_file(liar, tmp_path, kind, reason):
    with pytest.raises(DataError, match=reason):
        fetch_function("mnist", data_dir=tmp_path, base_urls={"mnist": f"{liar}/{kind}"})
    left = [p for p in tmp_path.rglob("*") if p.is_file()]
    assert sum(p.stat().st_size for p in left) <= len(BODY) and NAME not in {p.name for p in left}


def test_a_server_that_drips_bytes_is_left(liar, tmp_path, monkeypatch):
    monkeypatch.setattr(fetch_module, "TIMEOUT_S", 0.2)
    with pytest.raises(DataError, match="less than 1024 a second"):
        fetch_function("mnist", data_dir=tmp_path, base_urls={"mnist": f"{liar}/drip"})


def test_a_server_that_drips_headers_is_left(liar, tmp_path, monkeypatch):
    monkeypatch.setattr(fetch_module, "HEADERS_S", 0.3)
    with pytest.raises(DataError, match="no whole answer in"):
        fetch_function("mnist", data_dir=tmp_path, base_urls={"mnist": f"{liar}/headers"})


def test_the_environment_names_a_served_data_folder(mirror, tmp_path, monkeypatch):
    mirror.files[f"/MNIST/raw/{NAME}"] = BODY
    monkeypatch.setenv("INSITU_MIRROR", mirror.url + "/")
    monkeypatch.setenv("INSITU_DATA", str(tmp_path / "there"))
    assert fetch_function("mnist") == [tmp_path / "there/MNIST/raw" / NAME]


def test_without_any_folder_the_cache_is_used(mirror, lone_environment):
    mirror.files[f"/{NAME}"] = BODY
    (path,) = fetch_function("mnist", base_urls={"mnist": mirror.url})
    assert path == lone_environment / "MNIST/raw" / NAME


def test_requests_that_cannot_be_served(mirror, tmp_path):
    assert fetch_function("digits") == []
    with pytest.raises(DataError, match=r"spar-watch.*cannot be fetched\. Put spar_watch_50hz\.npz"):
        fetch_function("spar-watch")
    with pytest.raises(ConfigError, match=r"'minst' is not known\. Did you mean 'mnist'"):
        fetch_function("minst")
    with pytest.raises(ConfigError, match=r"'ftp://x' is not a web address"):
        fetch_function("mnist", data_dir=tmp_path, base_urls={"mnist": "ftp://x"})


def test_a_place_that_cannot_be_written(mirror, tmp_path):
    mirror.files[f"/{NAME}"] = BODY
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(DataError, match=r"cannot write .*--data-dir"):
        get(mirror, tmp_path / "file")


def archive(*members: tuple[str, bytes], link: str | None = None) -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w:gz") as tar:
        for name, content in members:
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
        if link:
            info = tarfile.TarInfo(link)
            info.type, info.linkname = tarfile.SYMTYPE, "/etc/hostname"
            tar.addfile(info)
    return stream.getvalue()


def serve_cifar(monkeypatch, mirror, body: bytes) -> None:
    members = (("a.bin", sha(b"aaaa"), 4), ("b.bin", sha(b"bb"), 2))
    remote = RemoteFile("c.tar.gz", sha(body), len(body), "cifar-10-batches-bin", members)
    monkeypatch.setitem(mirrors.REMOTES, "cifar10", Remote((mirror.url,), (remote,)))
    mirror.files["/c.tar.gz"] = body


def test_an_archive_gives_only_the_expected_files(mirror, tmp_path, monkeypatch):
    inside = "cifar-10-batches-bin/"
    body = archive(
        (f"{inside}a.bin", b"aaaa"), ("../evil", b"e"), ("/evil", b"e"), (f"./{inside}b.bin", b"bb")
    )
    serve_cifar(monkeypatch, mirror, body)
    root = tmp_path / "root"
    paths = fetch_function("cifar10", data_dir=root)
    assert [p.read_bytes() for p in paths] == [b"aaaa", b"bb"]
    assert sorted(p.name for p in root.rglob("*")) == ["a.bin", "b.bin", "cifar-10-batches-bin"]
    assert not (tmp_path / "evil").exists()
    fetch_function("cifar10", data_dir=root)
    assert len(mirror.log) == 1
    paths[1].write_bytes(b"xx")
    assert fetch_function("cifar10", data_dir=root)[1].read_bytes() == b"bb"


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (archive(("cifar-10-batches-bin/a.bin", b"aaaa")), r"lacks cifar-10-batches-bin/b\.bin"),
        (archive(("cifar-10-batches-bin/a.bin", b"aaab")), r"a\.bin has another SHA-256"),
        (archive(("cifar-10-batches-bin/a.bin", b"aaaaa")), r"a\.bin is not a file of the published size"),
        (archive(link="cifar-10-batches-bin/a.bin"), r"a\.bin is not a file of the published size"),
        (b"no archive at all", r"cannot be unpacked"),
    ],
)
def test_a_bad_archive_is_refused(mirror, tmp_path, monkeypatch, body, reason):
    serve_cifar(monkeypatch, mirror, body)
    with pytest.raises(DataError, match=reason + r".*fetch again"):
        fetch_function("cifar10", data_dir=tmp_path)


def test_the_table_of_mirrors_is_plausible():
    for remote in mirrors.REMOTES.values():
        assert all(base.startswith("http") and not base.endswith("/") for base in remote.bases)
        for file in remote.files:
            for digest in (file.sha256, *(member[1] for member in file.members)):
                assert len(bytes.fromhex(digest)) == 32


def test_the_real_files_have_the_hashes_of_the_table(real_data, monkeypatch):
    monkeypatch.undo()
    monkeypatch.setenv("INSITU_MIRROR", "http://127.0.0.1:9")  # a download would fail
    for name in ("mnist", "fashion-mnist"):
        assert len(fetch_function(name, data_dir=real_data)) == 4
