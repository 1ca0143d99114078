"""Licences of everything that insitu needs at run time: writes docs/licences.md from the installed packages.

.venv/bin/python scripts/licences.py
"""

from __future__ import annotations

import re
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from pathlib import Path

PAGE = Path(__file__).resolve().parents[1] / "docs" / "licences.md"
HEAD = """# Licences of what insitu needs

insitu is under the Apache License 2.0 (`LICENSE`); the data that it embeds are named in `NOTICE`. It contains no code
of the packages below; pip installs them beside it. The table is written by `scripts/licences.py` from what is
installed for the CPU, and holds the packages that they need in turn; torch for other devices brings those of its
vendor. Packages of the extras are not in it.

| package | licence | needed by |
| --- | --- | --- |
"""


def needed(package: Distribution) -> list[str]:
    """Names of the packages that one asks for in every installation."""
    plain = [text for text in package.requires or [] if "extra ==" not in text]
    return sorted({re.split(r"[^A-Za-z0-9._-]", text)[0].lower().replace("_", "-") for text in plain})


def licence(package: Distribution) -> str:
    """The licence as the package declares it: an expression, the classifiers, or a short text."""
    data = package.metadata
    if found := data.get("License-Expression"):
        return str(found)
    classes = [
        c.rsplit(" :: ", 1)[-1] for c in data.get_all("Classifier") or [] if c.startswith("License ::")
    ]
    text = str(data.get("License") or "").strip().splitlines()
    return ", ".join(classes) or (text[0][:60] if text else "see the package")


def table() -> str:
    """A row per installed package that insitu needs, itself left out."""
    users: dict[str, list[str]] = {}
    todo, seen = ["insitu"], {"insitu"}
    while todo:
        user = todo.pop()
        for name in needed(distribution(user)):
            try:
                distribution(name)
            except PackageNotFoundError:
                continue  # of another platform
            users.setdefault(name, []).append(user)
            if name not in seen:
                seen.add(name)
                todo.append(name)
    rows = ((name, licence(distribution(name)), ", ".join(sorted(users[name]))) for name in sorted(users))
    return "".join(f"| {name} | {text} | {by} |\n" for name, text, by in rows)


if __name__ == "__main__":
    PAGE.write_text(HEAD + table(), encoding="utf-8")
