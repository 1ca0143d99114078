"""The site: `make docs-site`. The pages are those of this folder; what only a site needs is made here.

Links to files outside this folder become their text, the lists of `index.md` the tables of contents, and `api.md` the
docstrings of what `insitu` exports.
"""

from __future__ import annotations

import inspect
import re
from typing import TYPE_CHECKING

import insitu

if TYPE_CHECKING:
    from sphinx.application import Sphinx

project = "insitu"
author = "the insitu authors"
version = release = insitu.__version__
extensions = ["myst_nb", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
exclude_patterns = ["results", "grids", "site"]
nb_execution_mode = "off"  # scripts/notebooks.py stores what they print
html_theme = "furo"
html_title = f"insitu {version}"
html_show_copyright = False
myst_heading_anchors = 3
myst_enable_extensions = ["colon_fence"]
suppress_warnings = ["misc.highlighting_failure"]
autodoc_typehints = "signature"

OUTSIDE = re.compile(r"\[([^\]]+)\]\(\.\./[^)]*\)")
LISTED = re.compile(r"^- \[[^\]]+\]\(([\w/-]+)\.(?:md|ipynb)\)", re.MULTILINE)
TOCTREE = "```{{toctree}}\n:hidden:\n:caption: {caption}\n\n{pages}\n```\n"


def contents(text: str) -> str:
    """The index with a hidden table of contents behind each of its lists."""
    parts = re.split(r"^## ", text, flags=re.MULTILINE)
    made = [parts[0]]
    for part in parts[1:]:
        caption, pages = part.splitlines()[0], "\n".join(LISTED.findall(part))
        made.append(part + "\n" + TOCTREE.format(caption=caption, pages=pages))
    return "## ".join(made)


def reference() -> str:
    """A directive for each name that the package exports."""
    names = [name for name in insitu.__all__ if not name.startswith("_")]
    kinds = {name: "class" if inspect.isclass(getattr(insitu, name)) else "function" for name in names}
    directives = (f".. auto{kind}:: insitu.{name}\n" for name, kind in kinds.items())
    return "\n```{eval-rst}\n" + "\n".join(directives) + "```\n"


def adapted(_app: Sphinx, page: str, source: list[str]) -> None:
    """A page as the site wants it."""
    if page.startswith("notebooks/"):
        return
    text = OUTSIDE.sub(r"\1", source[0])
    if page == "index":
        text = contents(text)
    elif page == "api":
        text += reference()
    source[0] = text


def setup(app: Sphinx) -> None:
    app.connect("source-read", adapted)
