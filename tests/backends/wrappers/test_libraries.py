"""Libraries, components and modules (``--form arduino`` and others): metadata, builds and bits."""

from __future__ import annotations

import json
import os
import re
import subprocess
from pathlib import Path
from xml.etree import ElementTree

import pytest
import yaml

from insitu.backends.c.memory import Memory
from insitu.backends.c.project import write
from tests.backends.wrappers.helpers import GCC, STAND_INS, STRICT, Learned, c_files, library, need, ran

pytestmark = GCC


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


def test_the_options_of_a_zephyr_module_are_those_of_its_kconfig(sample: Learned, tmp_path: Path) -> None:
    out = write(sample.program, tmp_path / "c", name="wake", form="zephyr").folder
    text = (out / "zephyr/Kconfig").read_text()
    used = re.findall(r"CONFIG_(\w+)", (out / "zephyr/CMakeLists.txt").read_text())
    assert set(used) == set(re.findall(r"^config (\w+)$", text, re.M))


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


# --- the tool chains' own tools, where they are installed -----------------------------------------------------------


def test_kconfiglib_reads_the_options_of_a_zephyr_module(sample: Learned, tmp_path: Path) -> None:
    kconfiglib = pytest.importorskip("kconfiglib")
    out = write(sample.program, tmp_path / "c", name="wake", form="zephyr").folder
    kconfig = kconfiglib.Kconfig(str(out / "zephyr/Kconfig"), warn=False)
    kconfig.load_config(str(out / "samples/serial_learner/prj.conf"))
    assert kconfig.syms["WAKE"].str_value == "y" and kconfig.syms["WAKE_SMALL"].str_value == "n"


def test_the_component_manager_takes_the_manifest_of_an_esp_idf_component(
    sample: Learned, tmp_path: Path
) -> None:
    tools = pytest.importorskip("idf_component_tools.manifest")
    out = write(sample.program, tmp_path / "c", form="esp-idf").folder
    manifest = yaml.safe_load((out / "idf_component.yml").read_text())
    assert str(tools.Manifest.fromdict(manifest).version) == manifest["version"]


@pytest.mark.parametrize(
    ("form", "file"), [("platformio", "library.json"), ("arduino", "library.properties")]
)
def test_the_schema_of_platformio_takes_a_library(
    sample: Learned, tmp_path: Path, form: str, file: str
) -> None:
    schema = pytest.importorskip("platformio.package.manifest.schema")
    parser = pytest.importorskip("platformio.package.manifest.parser")
    out = write(sample.program, tmp_path / "c", form=form).folder
    found = parser.ManifestParserFactory.new_from_file(str(out / file)).as_dict()
    found.pop("license")  # looked up in the network
    assert "insitu_net.h" in schema.ManifestSchema().load_manifest(found)["headers"]
