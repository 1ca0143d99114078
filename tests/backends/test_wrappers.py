"""Forms of a project (``insitu export c --form``): metadata, strict compilers, and the bits of the host engine."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree
from zlib import crc32

import pytest
import yaml

from insitu.backends.c import updates
from insitu.backends.c.forms.single_header import joined
from insitu.backends.c.memory import Memory
from insitu.backends.c.project import Source, generated, write
from insitu.backends.c.templates import RUNTIME
from insitu.cli import main
from insitu.errors import ConfigError
from insitu.experiment.export import exportable
from insitu.run.program import Program

pytestmark = pytest.mark.skipif(shutil.which("gcc") is None, reason="the projects need gcc")

STRICT = ["-Wall", "-Wextra", "-Wconversion", "-Wshadow", "-Wcast-align", "-Wvla", "-pedantic", "-Werror"]
STAND_INS = Path(__file__).parent / "stand_ins"
CONFIG = (
    "{data: digits, network: mlp-64-12-10, rule: drtp, batch: 1, limit_train: 60, limit_test: 10,"
    " precision: 'PRECISION', optimizer: {lr: 0.05}}"
)


@dataclass(frozen=True)
class Learned:
    """What the reference makes of a program's samples.

    Attributes:
        lines: the samples as a sketch reads them, and the question for the state.
        state: the CRC-32 of the state after them.
    """

    program: Program
    lines: str
    state: str


def learned(program: Program) -> Learned:
    x = program.inference.inputs[0]
    unit, zero = float(x.unit or 1), x.zero or 0
    lines = []
    for samples, labels in program.batches:
        for words, label in zip(samples.reshape(len(samples), -1), labels.ravel()):
            values = (words.astype(float) - zero) * unit
            lines.append(f"{int(label)} " + ",".join(f"{v:.8f}" for v in values))
    block = Memory(program).block("state", program.golden.states[-1])
    return Learned(program, "\n".join([*lines, "!", ""]), f"state {crc32(block):08x}")


def config_of(folder: Path, precision: str = "edge-latent-free-4") -> Path:
    config = folder / f"{precision}.yaml"
    config.write_text(CONFIG.replace("PRECISION", precision))
    return config


def program_of(folder: Path, precision: str = "edge-latent-free-4") -> Program:
    return exportable(config_of(folder, precision), steps=20)


@pytest.fixture(scope="module")
def sample(tmp_path_factory: pytest.TempPathFactory) -> Learned:
    return learned(program_of(tmp_path_factory.mktemp("program")))


def ran(command: Sequence[str | Path], folder: Path, given: str = "") -> str:
    done = subprocess.run(list(map(str, command)), cwd=folder, input=given, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def need(*tools: str) -> None:
    missing = [tool for tool in tools if shutil.which(tool) is None]
    if missing:
        pytest.skip(f"needs {', '.join(missing)}: run scripts/setup-system.sh")


# --- one header -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("compiler", ["gcc", "clang"])
def test_the_single_header_has_the_bits_and_no_warning(
    sample: Learned, tmp_path: Path, compiler: str
) -> None:
    need(compiler)
    out = write(sample.program, tmp_path / "c", form="single-header").folder
    header = (out / "insitu.h").read_text()
    assert header.count("#ifndef INSITU_NET_H") == header.count("#ifndef INSITU_INTERNAL_H") == 1
    for name in ("test", "example"):
        ran([compiler, "-std=c99", "-O1", *STRICT, f"{name}.c", "-o", name], out)
    assert ran([out / "test"], out) == "self-test: all equal\n"
    assert sample.state in ran([out / "example"], out, sample.lines)


def test_real_weights_of_a_single_header_have_the_bits_where_products_and_sums_could_be_one(
    tmp_path: Path,
) -> None:
    """gnu99 joins them on processors that can, unless the header says no."""
    if "fma" not in Path("/proc/cpuinfo").read_text():
        pytest.skip("needs an x86-64 processor with fused multiply-add")
    out = write(program_of(tmp_path, "w8a8"), tmp_path / "c", form="single-header").folder
    ran(["gcc", "-std=gnu99", "-O2", "-mfma", "test.c", "-o", "test"], out)
    assert ran([out / "test"], out) == "self-test: all equal\n"


def test_two_single_headers_with_names_are_one_program(sample: Learned, tmp_path: Path) -> None:
    names = ("wake", "sleep")
    for name in names:
        write(sample.program, tmp_path / name, name=name, form="single-header")
        code = f'#define {name.upper()}_IMPLEMENTATION\n#include "{name}/{name}.h"\n'
        (tmp_path / f"{name}.c").write_text(code)
    use = "".join(f'#include "{n}/{n}.h"\n' for n in names)
    calls = "".join(f"{n}_init(nullptr, nullptr, nullptr) != {n.upper()}_NO_ARGUMENT || " for n in names)
    (tmp_path / "main.cpp").write_text(f"{use}int main() {{ return {calls}0; }}\n")
    ran(["gcc", "-std=c99", *STRICT, "-c", "wake.c", "sleep.c"], tmp_path)
    need("g++")
    ran(["g++", "-std=c++17", *STRICT, "main.cpp", "wake.o", "sleep.o", "-o", "two"], tmp_path)
    ran([tmp_path / "two"], tmp_path)


def test_all_kernels_and_updates_are_one_header(sample: Learned, tmp_path: Path) -> None:
    """No two of them have a name of their own in common."""
    files = generated(Source(sample.program)) | {"insitu_updates.h": updates.header(updates.known())}
    for path in (*(RUNTIME / "kernels").glob("*.[ch]"), *updates.sources()):
        files[path.name] = path.read_text()
    for made in ("", "#define INSITU_SMALL"):
        code = "\n".join([made, "#define INSITU_WORDS", *joined(files, "").values()])
        (tmp_path / "all.c").write_text(code)
        ran(["gcc", "-std=c99", *STRICT, "-fsyntax-only", "all.c"], tmp_path)


@pytest.mark.parametrize(
    "changes",
    [
        {"network: mlp-64-12-10": "network: cnn-4-4", "rule: drtp": "rule: bp-stash"},
        {"rule: drtp": "rule: etch", "PRECISION": "edge-latent-free-8:error_exponent=static,defer=4"},
        {"PRECISION": "edge-latent-free-2"},
    ],
)
def test_other_kernels_in_one_header_have_the_bits(changes: dict[str, str], tmp_path: Path) -> None:
    text = CONFIG
    for old, new in changes.items():
        text = text.replace(old, new)
    (tmp_path / "a.yaml").write_text(text.replace("PRECISION", "edge-latent-free-4"))
    out = write(exportable(tmp_path / "a.yaml", steps=6), tmp_path / "c", form="single-header").folder
    ran(["gcc", "-std=c99", *STRICT, "test.c", "-o", "test"], out)
    assert ran([out / "test"], out) == "self-test: all equal\n"


# --- lines of text --------------------------------------------------------------------------------------------------


def test_what_is_no_sample_is_said_and_nothing_is_learned(sample: Learned, tmp_path: Path) -> None:
    out = write(sample.program, tmp_path / "c", form="single-header").folder
    ran(["gcc", "-O1", "-fsanitize=address,undefined", "example.c", "-o", "example"], out)
    few, many = "3" + " 0.5" * 63, "3" + " 0.5" * 6500
    bad = [
        few,
        many,
        "10" + " 0.5" * 64,
        "-1" + " 0" * 64,
        "3.5" + " 0" * 64,
        "! 1",
        "nan",
        "3 1e9",
        "?",
        "\xff",
    ]
    *answers, first, last = ran(
        [out / "example"], out, "\n".join(["!", *bad, "?" + " 1" * 64, "!", ""])
    ).splitlines()
    assert answers[1:] == ["error: a line is a class below 10 or ?, then 64 numbers"] * len(bad)
    assert re.fullmatch(r"class \d", first) and answers[0] == last


def test_a_batch_is_learned_when_its_last_sample_has_come(tmp_path: Path) -> None:
    config = tmp_path / "batch.yaml"
    config.write_text(CONFIG.replace("PRECISION", "edge-latent-free-8").replace("batch: 1", "batch: 3"))
    sample = learned(exportable(config, steps=4))
    out = write(sample.program, tmp_path / "c", form="single-header").folder
    ran(["gcc", "-O1", "example.c", "-o", "example"], out)
    said = ran([out / "example"], out, sample.lines)
    assert said.count("learned") == 12 and sample.state in said


# --- libraries ------------------------------------------------------------------------------------------------------


def library(sample: Learned, folder: Path, form: str) -> Path:
    """The library, whose own self-test has passed."""
    out = write(sample.program, folder / form, form=form).folder
    assert "self-test: all equal" in ran(["make", "-s", "test", "CFLAGS=-O0"], out / "extras/self_test")
    return out


def c_files(out: Path) -> list[Path]:
    return sorted((out / "src").rglob("*.c"))


def runs_as_a_sketch(sample: Learned, out: Path, sketch: str, *compilers: str) -> None:
    """The sketch, in C++ without a warning, learns to the same bits."""
    need(*compilers)
    sources = [path.relative_to(out) for path in c_files(out)]
    ran(["gcc", "-std=gnu17", "-Isrc", "-c", *sources], out)
    objects = [f"{path.stem}.o" for path in sources]
    flags = ["-std=c++17", *STRICT, f"-I{STAND_INS / 'arduino'}", "-Isrc"]
    (out / "sketch.cpp").write_text(f'#include "Arduino.h"\n#include "{sketch}"\n')
    for compiler in compilers:
        ran([compiler, *flags, "sketch.cpp", *objects, "-o", "sketch"], out)
        assert sample.state in ran([out / "sketch"], out, sample.lines)


def test_the_sketch_of_an_arduino_library_learns_to_the_same_bits(sample: Learned, tmp_path: Path) -> None:
    out = library(sample, tmp_path, "arduino")
    runs_as_a_sketch(sample, out, "examples/SerialLearner/SerialLearner.ino", "g++", "clang++")


def test_the_metadata_of_an_arduino_library_is_what_its_specification_asks_for(
    sample: Learned, tmp_path: Path
) -> None:
    out = write(sample.program, tmp_path / "c", name="wake", form="arduino").folder
    lines = (out / "library.properties").read_text().splitlines()
    found = dict(line.split("=", 1) for line in lines)
    assert set(found) >= set(
        [
            "name",
            "version",
            "author",
            "maintainer",
            "sentence",
            "paragraph",
            "category",
            "url",
            "architectures",
            "includes",
        ]
    )
    assert found["name"] == "wake" and re.fullmatch(r"\d+\.\d+\.\d+", found["version"])
    assert found["category"] in ARDUINO_CATEGORIES and all(found.values())
    assert found["includes"] == "wake_net.h" and (out / "src" / found["includes"]).is_file()
    for line in (out / "keywords.txt").read_text().splitlines()[1:]:
        word, kind = line.split("\t")
        assert kind in ("KEYWORD1", "KEYWORD2") and word.startswith("wake_")
        assert any(word in path.read_text() for path in (out / "src").glob("*.h"))


ARDUINO_CATEGORIES = (
    "Display",
    "Communication",
    "Signal Input/Output",
    "Sensors",
    "Device Control",
    "Timing",
    "Data Storage",
    "Data Processing",
    "Other",
)
"""Of Arduino's library specification."""


def test_arduinos_own_builder_makes_the_sketch(sample: Learned, tmp_path: Path) -> None:
    need("arduino-builder", "avr-gcc", "arduino-ctags")
    core = Path("/usr/share/arduino/hardware")
    if not (core / "arduino/avr/boards.txt").is_file():
        pytest.skip("needs arduino-core-avr: run scripts/setup-system.sh")
    out = write(sample.program, tmp_path / "libraries/insitu", form="arduino").folder
    for name in ("none", "build"):
        (tmp_path / name).mkdir()
    paths = ["-hardware", "/usr/share/arduino-builder", "-hardware", core, "-tools", tmp_path / "none"]
    prefs = ["runtime.tools.avr-gcc.path=/usr", "tools.ctags.path=/usr/bin"]
    prefs += ["build.extra_flags=-DDECIMAL_DIG=17"]  # Debian's core asks for it, and its compiler has none
    flags = [word for pref in prefs for word in ("-prefs", pref)]
    flags += ["-libraries", tmp_path / "libraries", "-build-path", tmp_path / "build", "-warnings", "all"]
    sketch = out / "examples/SerialLearner/SerialLearner.ino"
    said = ran(
        ["arduino-builder", *paths, *flags, "-fqbn", "arduino:avr:mega:cpu=atmega2560", sketch], tmp_path
    )
    assert "Sketch uses" in said and (tmp_path / "build/SerialLearner.ino.elf").is_file()


def test_a_platformio_library_is_valid_and_its_example_learns(sample: Learned, tmp_path: Path) -> None:
    out = library(sample, tmp_path, "platformio")
    found = json.loads((out / "library.json").read_text())
    assert found["name"] == "insitu" and re.fullmatch(r"\d+\.\d+\.\d+", found["version"])
    assert all((out / "src" / name).is_file() for name in found["headers"])
    example = found["examples"][0]
    assert all((out / example["base"] / name).is_file() for name in example["files"])
    assert (out / found["build"]["srcDir"]).is_dir() and (out / found["build"]["includeDir"]).is_dir()
    runs_as_a_sketch(sample, out, "examples/serial_learner/src/main.cpp", "g++")
    schema = pytest.importorskip("platformio.package.manifest.schema")
    found.pop("license")  # looked up in the network
    parsed = pytest.importorskip("platformio.package.manifest.parser")
    kept = parsed.ManifestParserFactory.new_from_file(str(out / "library.json")).as_dict()
    kept.pop("license")
    assert schema.ManifestSchema().load_manifest(kept)["headers"] == found["headers"]


def built(source: Path, folder: Path, *flags: str, **environment: str) -> Path:
    """What CMake builds in `folder`."""
    need("cmake")
    warnings = " ".join(flag for flag in STRICT if flag != "-pedantic")
    for command in (
        [
            "cmake",
            "-S",
            source,
            "-B",
            folder,
            f"-DCMAKE_C_FLAGS={warnings}",
            "-DCMAKE_C_COMPILER_WORKS=1",
            *flags,
        ],
        ["cmake", "--build", folder, "-j2"],
    ):
        done = subprocess.run(
            list(map(str, command)), capture_output=True, text=True, env={**os.environ, **environment}
        )
        assert done.returncode == 0, done.stdout + done.stderr
    return folder


def test_a_zephyr_module_is_complete_and_its_sample_learns(sample: Learned, tmp_path: Path) -> None:
    out = library(sample, tmp_path, "zephyr")
    module = yaml.safe_load((out / "zephyr/module.yml").read_text())
    assert module["name"] == "insitu" and set(module) <= {"name", "build", "samples"}
    assert (out / module["build"]["cmake"] / "CMakeLists.txt").is_file()
    assert (out / module["build"]["kconfig"]).is_file() and (out / module["samples"][0]).is_dir()
    told = yaml.safe_load((out / "samples/serial_learner/sample.yaml").read_text())
    assert set(told) == {"sample", "tests"} and all(name.startswith("sample.") for name in told["tests"])
    options = [f"-DZephyr_DIR={STAND_INS / 'zephyr'}", "-DOPTIONS=CONFIG_INSITU_SMALL=y"]
    found = built(out / "samples/serial_learner", tmp_path / "build", *options)
    assert sample.state in ran([found / "app"], out, sample.lines)


def test_the_options_of_a_zephyr_module_are_read_by_kconfig(sample: Learned, tmp_path: Path) -> None:
    out = write(sample.program, tmp_path / "c", name="wake", form="zephyr").folder
    text = (out / "zephyr/Kconfig").read_text()
    used = re.findall(r"CONFIG_(\w+)", (out / "zephyr/CMakeLists.txt").read_text())
    assert set(used) == set(re.findall(r"^config (\w+)$", text, re.M))
    kconfiglib = pytest.importorskip("kconfiglib")
    kconfig = kconfiglib.Kconfig(str(out / "zephyr/Kconfig"), warn=False)
    kconfig.load_config(str(out / "samples/serial_learner/prj.conf"))
    assert kconfig.syms["WAKE"].str_value == "y" and kconfig.syms["WAKE_SMALL"].str_value == "n"


def test_an_esp_idf_component_is_complete_and_its_example_learns(sample: Learned, tmp_path: Path) -> None:
    out = library(sample, tmp_path, "esp-idf")
    manifest = yaml.safe_load((out / "idf_component.yml").read_text())
    assert re.fullmatch(r"\d+\.\d+\.\d+", manifest["version"]) and manifest["description"]
    assert all((out / example["path"]).is_dir() for example in manifest["examples"])
    example = out / "examples/serial_learner"
    asked = yaml.safe_load((example / "main/idf_component.yml").read_text())["dependencies"]["insitu"]
    assert (example / "main" / asked["path"]).resolve() == out.resolve()
    found = built(example, tmp_path / "build", IDF_PATH=str(STAND_INS / "esp-idf"))
    assert sample.state in ran([found / "main/application"], out, sample.lines)
    tools = pytest.importorskip("idf_component_tools.manifest")
    assert str(tools.Manifest.fromdict(manifest).version) == manifest["version"]


def test_a_cmsis_pack_names_each_of_its_files_once_and_they_learn(sample: Learned, tmp_path: Path) -> None:
    out = library(sample, tmp_path, "cmsis-pack")
    pack = ElementTree.parse(out / "insitu.insitu.pdsc").getroot()
    assert pack.tag == "package" and pack.get("schemaVersion")
    texts = {name: pack.findtext(name) for name in ("vendor", "name", "description", "url")}
    assert all(texts.values()) and f"{texts['vendor']}.{texts['name']}.pdsc" == "insitu.insitu.pdsc"
    version = pack.find("releases/release").get("version")  # type: ignore[union-attr]
    component = pack.find("components/component")
    assert component is not None and component.get("Cversion") == version
    assert all(component.get(key) for key in ("Cclass", "Cgroup", "Csub"))
    files = component.findall("files/file")
    names = [file.get("name", "") for file in files]
    assert {file.get("category") for file in files} == {"doc", "include", "header", "sourceC"}
    assert len(set(names)) == len(names) and all((out / name).exists() for name in names)
    there = [p.relative_to(out).as_posix() for p in (out / "src").rglob("*") if p.is_file()]
    assert sorted(n for n in names if n.startswith("src/") and n != "src/") == sorted(there)
    sources = [file.get("name", "") for file in files if file.get("category") == "sourceC"]
    ran(["gcc", "-std=c99", *STRICT, "-Isrc", *sources, "-o", "example"], out)
    assert sample.state in ran([out / "example"], out, sample.lines)


@pytest.mark.parametrize("how", ["make", "cmake"])
def test_a_micropython_module_learns_saves_and_loads(sample: Learned, tmp_path: Path, how: str) -> None:
    out, stand_in = library(sample, tmp_path, "micropython"), STAND_INS / "micropython"
    if how == "make":
        warn = " ".join(flag for flag in STRICT if flag != "-pedantic")
        given = [f"USERMOD_DIR={out}", f"STAND_IN={stand_in}", f"WARN={warn}", "CC=gcc"]
        ran(["make", "-f", stand_in / "Makefile", *given, "port"], tmp_path)
        port = tmp_path / "port"
    else:
        port = built(stand_in, tmp_path / "build", f"-DUSER_C_MODULES={out / 'micropython.cmake'}") / "port"
    said, steps = ran([port], tmp_path, sample.lines).split()
    assert int(steps) == len(sample.program.batches)
    block = Memory(sample.program).block("state", sample.program.golden.states[-1])
    assert bytes(block) in bytes.fromhex(said)
    assert ran([port], tmp_path, sample.lines[: sample.lines.index("\n") + 1]).split()[1] == "1"
    wrong = subprocess.run([port], input="3 1 2\n", capture_output=True, text=True)
    assert wrong.returncode == 1 and "another number of values" in wrong.stdout
    compile((out / "example.py").read_text(), "example.py", "exec")


# --- the browser ----------------------------------------------------------------------------------------------------

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


# --- other machines -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("precision", ["edge-latent-free-4", "w8a8"])
def test_a_big_endian_machine_has_the_same_bits(tmp_path: Path, precision: str) -> None:
    """s390x also computes between two operations on floats in double (``FLT_EVAL_METHOD`` 1) in strict C99."""
    need("s390x-linux-gnu-gcc", "qemu-s390x")
    out = write(program_of(tmp_path, precision), tmp_path / "c", form="single-header").folder
    ran(["s390x-linux-gnu-gcc", "-std=c99", "-O2", "-static", *STRICT, "test.c", "-o", "test"], out)
    assert ran(["qemu-s390x", out / "test"], out) == "self-test: all equal\n"


@pytest.mark.parametrize("precision", ["edge-latent-free-4", "w8a8"])
def test_a_machine_whose_int_has_16_bits_has_the_same_bits(tmp_path: Path, precision: str) -> None:
    need("avr-gcc", "simavr")
    config = config_of(tmp_path, precision)
    config.write_text(
        config.read_text().replace("mlp-64-12-10", "mlp-64-4-10")
    )  # 8 KB of RAM hold constants too
    out = write(exportable(config, steps=6), tmp_path / "c", form="arduino").folder
    folders = [f"-I{path}" for path in (STAND_INS / "avr", out / "extras/self_test", out / "src")]
    flags = ["-mmcu=atmega2560", "-std=gnu99", "-Os", "-DINSITU_BOARD", *STRICT]
    ran(["avr-gcc", *flags, *folders, STAND_INS / "avr/avr.c", *c_files(out), "-o", "test.elf"], out)
    done = subprocess.run(
        ["simavr", "-m", "atmega2560", "-f", "16000000", "test.elf"],
        cwd=out,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert "self-test: all equal" in done.stdout + done.stderr


@pytest.mark.parametrize(
    "compiler",
    [
        "gcc",
        "clang",
        "arm-none-eabi-gcc -mcpu=cortex-m4 -DINSITU_DSP",
        "s390x-linux-gnu-gcc",
        "avr-gcc -mmcu=avr6",
    ],
)
def test_every_kernel_is_clean_under_strict_warnings(tmp_path: Path, compiler: str) -> None:
    need(compiler.split()[0])
    headers = {"insitu_updates.h": updates.header(updates.known())}
    headers["insitu_kernels.h"] = (RUNTIME / "insitu_kernels.h").read_text()
    for name, text in headers.items():
        (tmp_path / name).write_text(text)
    kernels = tmp_path / "kernels"
    shutil.copytree(RUNTIME / "kernels", kernels)
    for path in updates.sources():
        shutil.copy(path, kernels)
    forms = [[], ["-DINSITU_BYTES", "-DINSITU_NO_REAL", "-DINSITU_SMALL"]]
    for form in forms if compiler == "gcc" else forms[:1]:
        sources = sorted(kernels.glob("*.c"))
        ran([*compiler.split(), "-std=c99", *STRICT, *form, "-fsyntax-only", "-I.", *sources], tmp_path)


# --- the command line -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (["--form", "cobol"], "form 'cobol' is unknown; use one of plain, single-header, "),
        (["--form", "single-header", "--board", "m4"], "--board builds the plain project"),
    ],
)
def test_a_form_that_does_not_fit_is_refused(
    words: list[str], reason: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["export", "c", str(config_of(tmp_path)), "-o", str(tmp_path / "c"), *words]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and reason in error and not (tmp_path / "c").exists()


def test_a_folder_of_another_form_is_left_alone(sample: Learned, tmp_path: Path) -> None:
    for first, second in (("arduino", "platformio"), ("plain", "single-header"), ("zephyr", "plain")):
        out = tmp_path / first
        for _ in range(2):  # over itself
            write(sample.program, out, form=first)
        with pytest.raises(ConfigError, match="holds other files"):
            write(sample.program, out, form=second)
