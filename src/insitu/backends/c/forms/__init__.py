"""The forms of a project in C: one module each."""

from __future__ import annotations

from importlib import import_module

from insitu.backends.c.forms.form import Facts, Form
from insitu.errors import ConfigError

__all__ = ["NAMES", "Facts", "Form", "find"]

NAMES = (
    "plain",
    "single-header",
    "arduino",
    "platformio",
    "zephyr",
    "esp-idf",
    "cmsis-pack",
    "micropython",
    "wasm",
)
"""Of forms; the module of ``esp-idf`` is ``esp_idf``."""


def find(name: str) -> Form:
    """A form by name.

    Raises:
        ConfigError: it is unknown.
    """
    if name not in NAMES:
        raise ConfigError(f"form {name!r} is unknown; use one of {', '.join(NAMES)}")
    found: Form = import_module(f"{__name__}.{name.replace('-', '_')}").FORM
    return found
