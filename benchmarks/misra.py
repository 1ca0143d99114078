"""cppcheck with its MISRA C:2012 addon over an exported project: findings by rule, each with the reason why it stays.

    python benchmarks/misra.py [--out FILE]           # needs cppcheck 2.10 (Debian: cppcheck)

The addon knows numbers of rules, not their texts, which are not free. Exit status 1 if a rule is found that
:data:`ARGUED` has no reason for. The counts go to ``benchmarks/results/misra.json``, and from there into docs/c.md.
"""

from __future__ import annotations

import argparse
import json
import re
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path

from insitu.experiment.export import export

ROOT = Path(__file__).resolve().parents[1]
OUT = ROOT / "benchmarks" / "results" / "misra.json"

PROJECT = """{data: digits, network: cnn-8-16, rule: bp, precision: edge-latent-free-8, batch: 2,
limit_train: 60, limit_test: 20}"""
"""Convolutions, pools, dense layers and their adjoints."""

INTERFACE = "what a caller may need: the interface, sizes in the header, and kernels that share a file"
CONVERSIONS = "conversions between integers: gcc and clang with -Wconversion find none that may lose a value"
LISTS = "the list of a program's updates is a macro that is read several times, so that only those are linked"

ARGUED = {
    "2.4": "enumerations without a name: constants in groups",
    "2.5": INTERFACE,
    "5.5": "a function and a macro of one name: inline forms",
    "8.7": INTERFACE,
    "8.9": "tables that one call reads stand at file scope, in flash, beside those that several calls read",
    "8.11": "arrays of insitu_data.c without a size in the header: it differs without learning",
    "10.1": "whether >> keeps the sign is asked of the compiler, which leaves one form; bits that are set or not",
    "10.3": CONVERSIONS,
    "10.4": CONVERSIONS,
    "10.5": "a comparison as a bit of a word",
    "10.6": CONVERSIONS,
    "10.7": CONVERSIONS,
    "10.8": "arithmetic modulo 2^64 by way of unsigned integers, so that no caller makes a sum overflow",
    "11.4": "arrays that are only read lie in flash; one struct describes those and others, and inputs are not written",
    "11.8": "the same",
    "12.1": "C's precedence where gcc -Wparentheses asks for nothing",
    "12.3": "several names in a declaration, several counters in a loop",
    "13.3": "a pointer that moves on as it is read, in the innermost loops",
    "14.2": "a counter that runs down to 0 without wrapping",
    "14.4": "int predicates, as of C without stdbool.h",
    "15.5": "a call that is refused returns at once",
    "15.6": "single statements without braces; -Wmisleading-indentation finds none",
    "16.6": LISTS,
    "17.8": "arguments as counters",
    "18.4": "packed arrays are addressed by offsets of the memory plan; every program is run under the sanitizers",
    "19.2": "the bits of a float32, and the options of one method out of several",
    "20.1": "inline parts of a header, included where they belong",
    "20.5": LISTS,
    "20.7": "arguments that are names or statements, which no parentheses may surround",
    "20.10": LISTS,
    "knownConditionTrueFalse": "wrong: the loops over outputs run, as every test of equal bits shows",
    "shiftNegativeLHS": "the question of 10.1",
    "unusedFunction": INTERFACE,
    "variableScope": "style",
}
"""Why findings stay, by rule."""


def findings(project: Path) -> Counter[str]:
    """Findings of a project, by rule of MISRA or name of cppcheck's own."""
    makefile = (project / "Makefile").read_text(encoding="utf-8")
    config = re.search(r"^CONFIG := (.*)$", makefile, re.MULTILINE)
    assert config is not None
    command = [
        *(
            "cppcheck",
            "--std=c99",
            "--addon=misra",
            "--enable=all",
            "--suppress=missingIncludeSystem",
            "--quiet",
        ),
        *("--template={file}:{line}: {id}", *config[1].split(), "-I", ".", "-I", "kernels"),
        *(str(path.relative_to(project)) for path in sorted(project.rglob("*.c")) if path.name != "test.c"),
    ]
    done = subprocess.run(command, cwd=project, capture_output=True, text=True, check=True)
    lines = {line for line in done.stderr.splitlines() if re.match(r"\S+:\d+: ", line)}
    return Counter(line.rpartition(" ")[2].removeprefix("misra-c2012-") for line in lines)


def order(rule: str) -> tuple[bool, list[int], str]:
    """Rules by number, then cppcheck's own."""
    numbered = rule[0].isdigit()
    return not numbered, [int(n) for n in rule.split(".")] if numbered else [], rule


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=OUT)
    given = parser.parse_args()
    if shutil.which("cppcheck") is None:
        parser.error("there is no cppcheck; install Debian's package cppcheck")
    with tempfile.TemporaryDirectory() as folder:
        config = Path(folder) / "project.yaml"
        config.write_text(PROJECT, encoding="utf-8")
        found = findings(export(config, Path(folder) / "c").folder)
    version = subprocess.run(
        ["cppcheck", "--version"], capture_output=True, text=True, check=True
    ).stdout.strip()
    rows = [{"rule": r, "findings": found[r], "why": ARGUED.get(r)} for r in sorted(found, key=order)]
    given.out.write_text(json.dumps({"tool": version, "rows": rows}, indent=1) + "\n", encoding="utf-8")
    for row in rows:
        print(f"{row['rule']:<24} {row['findings']:>5}  {row['why'] or 'NOT ARGUED'}")
    return int(any(row["why"] is None for row in rows))


if __name__ == "__main__":
    sys.exit(main())
