"""Sphinx settings: `sphinx-build -W -b html docs docs/_build`; needs no network."""

from __future__ import annotations

import json
import sys
from pathlib import Path

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE), str(HERE.parent)]

from generate import write_pages  # noqa: E402

from mammo_aln import __version__  # noqa: E402

project = "mammo_aln"
author = "The mammo_aln authors"
copyright = "2026, The mammo_aln authors"
version = release = __version__
extensions = ["myst_parser"]
myst_heading_anchors = 4
source_suffix = {".md": "markdown"}
exclude_patterns = ["_build"]
html_theme = "furo"
html_static_path = ["_static"]
html_css_files = ["tables.css"]
html_title = f"mammo_aln {__version__}"
html_show_sphinx = False
pygments_style = "friendly"


def notebook_page(notebook: Path) -> str:
    """Turn a notebook into a MyST page: its prose as it stands, its code as blocks."""
    cells = json.loads(notebook.read_text(encoding="utf-8"))["cells"]
    texts = [
        "".join(cell["source"]) if cell["cell_type"] == "markdown" else f"```python\n{''.join(cell['source'])}\n```"
        for cell in cells
    ]
    return "\n\n".join(texts) + "\n"


write_pages(HERE)
for book in (HERE / "getting-started").glob("*.ipynb"):
    book.with_suffix(".md").write_text(notebook_page(book), encoding="utf-8")
