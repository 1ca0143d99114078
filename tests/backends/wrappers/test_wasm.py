"""The WebAssembly module and its page: the bits of the reference, in Node and in headless Chromium."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from zlib import crc32

import pytest

from insitu.backends.c.project import write
from tests.backends.wrappers.helpers import GCC, Learned, learned, need, program_of, ran

pytestmark = GCC

BROWSER = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-sync",
]
BROWSER += ["--disable-background-networking", "--disable-component-update"]

TAUGHT = """(lines) => {
    network.reset();
    for (const [label, ...values] of lines) network.learn(values, label);
    const saved = network.save(), state = Array.from(network.state());
    network.reset();
    network.load(saved);
    return [state, Array.from(network.state())];
}"""


NODE = """
const { Network } = require("./network.js");
const lines = JSON.parse(require("fs").readFileSync(0));
Network.from(require("fs").readFileSync("insitu.wasm")).then((network) => {
    for (const [label, ...values] of lines) network.learn(values, label);
    console.log(Buffer.from(network.state()).toString("hex"));
});
"""


def numbers_of(sample: Learned) -> list[list[float]]:
    """Label and values of each sample."""
    return [[float(word) for word in re.split("[ ,]", line)] for line in sample.lines.splitlines()[:-1]]


def test_float_master_copies_have_the_same_bits_in_node(tmp_path: Path) -> None:
    need("clang", "wasm-ld", "node")
    sample = learned(program_of(tmp_path, "w8a8"))
    out = write(sample.program, tmp_path / "c", form="wasm").folder
    (out / "run.js").write_text(NODE)
    state = bytes.fromhex(ran(["node", "run.js"], out, json.dumps(numbers_of(sample))))
    assert f"state {crc32(state):08x}" == sample.state


def test_a_page_learns_to_the_same_bits_and_what_is_drawn_on_it(sample: Learned, tmp_path: Path) -> None:
    need("clang", "wasm-ld", "chromium")
    playwright = pytest.importorskip("playwright.sync_api", reason="needs the Python package playwright")
    out = write(sample.program, tmp_path / "c", form="wasm").folder
    trouble: list[str] = []
    with playwright.sync_playwright() as p:
        browser = p.chromium.launch(executable_path=shutil.which("chromium"), args=BROWSER)
        page = browser.new_page()
        page.on("pageerror", lambda error: trouble.append(str(error)))
        page.on("console", lambda message: trouble.append(message.text))
        page.on(
            "request", lambda r: trouble.append(r.url) if not r.url.startswith(("file:", "data:")) else None
        )
        page.goto((out / "index.html").as_uri())
        page.wait_for_selector("#classes button")
        for state in page.evaluate(TAUGHT, numbers_of(sample)):
            assert f"state {crc32(bytes(state)):08x}" == sample.state
        before = page.evaluate("network.steps()")
        page.click("#classes button:nth-child(2)")
        assert "draw something first" in page.inner_text("#told")
        box = page.locator("#pad").bounding_box()
        page.mouse.move(box["x"] + 160, box["y"] + 40)
        page.mouse.down()
        page.mouse.move(box["x"] + 160, box["y"] + 280, steps=8)
        page.mouse.up()
        assert page.locator("#classes .said").count() == 1
        page.click("#classes button:nth-child(2)")
        assert page.evaluate("network.steps()") == before + 1
        assert "1 learned" in page.inner_text("#classes button:nth-child(2)")
        browser.close()
    assert trouble == []
