"""Write what the code itself knows best: the reference pages and the picture of the rooms.

    python docs/generate.py

A site's build writes them too; a test holds the committed copies current.
"""

from __future__ import annotations

from pathlib import Path

from dependencies_page import dependencies_page
from reference_pages import files_page, settings_page, verbs_page
from rooms_picture import rooms_picture


def pages() -> dict[str, str]:
    """Give each generated file's text by its path below docs/."""
    return {
        "reference/settings.md": settings_page(),
        "reference/verbs.md": verbs_page(),
        "reference/files.md": files_page(),
        "dependencies.md": dependencies_page(),
        "images/rooms.svg": rooms_picture(),
    }


def write_pages(docs: Path) -> None:
    """Write each generated file that differs."""
    for name, text in pages().items():
        path = docs / name
        if not path.is_file() or path.read_text(encoding="utf-8") != text:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    write_pages(Path(__file__).parent)
