"""Executes the notebooks of docs/notebooks and stores what they print and draw: needs the extra `docs`.

.venv/bin/python scripts/notebooks.py
"""

from __future__ import annotations

from pathlib import Path

import nbformat
from nbclient import NotebookClient

FOLDER = Path(__file__).resolve().parents[1] / "docs" / "notebooks"


def main() -> None:
    for path in sorted(FOLDER.glob("*.ipynb")):
        notebook = nbformat.read(path, as_version=4)
        client = NotebookClient(
            notebook, timeout=120, record_timing=False, coalesce_streams=True, kernel_name="python3"
        )
        client.execute()
        del notebook.metadata["language_info"]["version"]  # of this machine
        nbformat.write(notebook, path)
        print(path.name)


if __name__ == "__main__":
    main()
