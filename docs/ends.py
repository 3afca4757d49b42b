"""Record one run of the tests at an end of what pyproject.toml allows: scripts/ends.sh calls it.

python docs/ends.py lowest|newest "CLOSING LINE" [pytest's options]
"""

from __future__ import annotations

import platform
import re
import sys
import tomllib
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
ENDS = ROOT / "docs" / "supply" / "ends"
NAME = re.compile(r"[A-Za-z0-9][\w.-]*")


def direct_dependencies() -> dict[str, str]:
    """Give each requirement of pyproject.toml by its name."""
    return {name: text for group in groups().values() for name, text in group.items()}


def groups() -> dict[str, dict[str, str]]:
    """Give the requirements of each extra, and of none (""), by their names."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    texts = {"": project["dependencies"], **project["optional-dependencies"]}
    return {
        extra: {NAME.match(text)[0]: text for text in listed if not text.startswith("mammo-aln[")}
        for extra, listed in texts.items()
    }


def record(end: str, closing: str, options: list[str]) -> Path:
    """Add one line to the end's file; other versions or another Python begin it anew."""
    head = f"# {end}, Python {platform.python_version()}"
    pins = "".join(f"{name}=={number}\n" for name in direct_dependencies() if (number := _version(name)))
    asked = " ".join(["pytest", *options])
    line = f"# {datetime.now(UTC):%Y-%m-%d}, {asked}: {closing.strip('= ')}"
    path = ENDS / f"{end}-{platform.python_version().rsplit('.', 1)[0]}.txt"
    runs = []
    if path.is_file():
        lines = path.read_text(encoding="utf-8").splitlines()
        earlier = "".join(f"{text}\n" for text in lines if not text.startswith("#"))
        runs = [text for text in lines[1:] if text.startswith("#")] if (lines[0], earlier) == (head, pins) else []
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join([head, *runs, line]) + "\n" + pins, encoding="utf-8")
    return path


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


if __name__ == "__main__":
    print(record(sys.argv[1], sys.argv[2], sys.argv[3:]))
