"""Whatever a caller hands to a generated program, every call takes or refuses it, and the sanitizers find nothing.

A long run loads more slots, all drawn from one seed::

    INSITU_LOADS=1000000 pytest tests/backends/test_hostile.py -k drtp-mlp-edge-latent-free-8
"""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from insitu.backends.c import updates
from insitu.backends.c.host import SANITIZED, WARNINGS, compiler, kernels
from insitu.backends.c.project import Source, defines, generated
from insitu.rules import RULES
from insitu.rules.facts import integer_ready
from insitu.rules.protocol import make_rule
from tests.backends.programs import program
from tests.part import part
from tests.run.cases import OPTIONS
from tests.run.test_integer import MORE, POLICIES

pytestmark = pytest.mark.skipif(shutil.which("gcc") is None, reason="the C engine needs gcc")

SOURCE = Path(__file__).with_name("hostile.c")

READY = [name for name in RULES if integer_ready(make_rule(name, OPTIONS.get(name)))]
UPDATES = [policy for policy in (*POLICIES, *MORE) if "master=f16" not in policy]
NETWORKS = [
    ("bp", "lenet", "edge-latent-free-8"),
    ("bp-stash", "lenet", "edge-latent-free-4"),
    ("pred", "lenet", "edge-latent-free-8:rounding=stochastic"),
    ("etch", "lenet", "niti-int8"),
    ("bp", "resnet", "edge-latent-free-8"),
    ("dfa", "rms", "edge-latent-free-8"),
    ("bp", "mlp-tanh", "edge-latent-free-8"),
    ("bp", "separable", "edge-latent-free-8:per_channel=true"),
    ("etch", "mlp", "edge-latent-free-4:error_exponent=static,defer=3"),
]
PROGRAMS = [
    *((rule, "mlp", "edge-latent-free-8") for rule in READY),
    *(("bp", "mlp", policy) for policy in UPDATES),
    *NETWORKS,
]


LOADS = int(os.environ.get("INSITU_LOADS", "300"))
"""Slots that are loaded by a program of the small network."""


def hostile(rule: str, network: str, policy: str, folder: Path) -> str:
    """What the hostile caller of a program prints, with what a sanitizer found."""
    _, made = program(rule, network, policy, 2 if network == "mlp" else 1)
    texts = generated(Source(made)) | {"insitu_updates.h": updates.header(updates.known())}  # as of `kernels`
    for name, text in texts.items():
        (folder / name).write_text(text, encoding="utf-8")
    few = (f"-DLOADS={LOADS}u",) if network == "mlp" else ("-DSTEPS=16u", "-DLOADS=40u")
    flags = (*SANITIZED, *few, *(f"-D{define}" for define in defines(made)))
    sources = [*map(str, folder.glob("*.c")), str(SOURCE), str(kernels(SANITIZED))]
    binary = folder / "hostile"
    command = [compiler(), *WARNINGS, *flags, f"-I{folder}", *sources, "-o", str(binary)]
    subprocess.run(command, check=True)
    done = subprocess.run([binary], capture_output=True, text=True, timeout=300 + LOADS // 500)
    return done.stdout + done.stderr


@pytest.mark.parametrize(("rule", "network", "policy"), [*part(PROGRAMS[: -len(NETWORKS)], 3), *NETWORKS])
def test_no_caller_makes_a_program_leave_its_arrays(
    rule: str, network: str, policy: str, tmp_path: Path
) -> None:
    said = hostile(rule, network, policy, tmp_path)
    assert said.startswith("hostile: all refused or done;") and said.count("\n") == 1, said
