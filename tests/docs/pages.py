"""Command blocks of README and docs, each with what the comment before it declares.

A comment `<!-- test ... -->` holds YAML and speaks of the block below it, `<!-- test page ... -->` of the whole page:

    starts with: [COHORT, RUN]      folders and files that stand beside the commands (page)
    small: {train: --config $TINY}  options added to a verb, so that it takes seconds (page)
    replace: {"# fill in": "..."}   text of the block that cannot stand as it is
    not run: REASON                 its `mammo-aln` lines are still parsed
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parents[2]
COMMENT = re.compile(r"<!-- test(?P<page> page)?\n(?P<keys>.*?)-->", re.S)
BLOCK = re.compile(r"^```(?P<language>[^\n]*)\n(?P<code>.*?)^```", re.S | re.M)
BLOCK_KEYS = {"replace", "not run"}
PAGE_KEYS = {"starts with", "small"}


@dataclass(frozen=True)
class Block:
    """One fenced block of a page."""

    language: str
    code: str
    replace: dict[str, str] = field(default_factory=dict)
    not_run: str = ""

    @property
    def runs(self) -> bool:
        return self.language in ("bash", "python") and not self.not_run

    def runnable(self) -> str:
        """The code with what the comment declares replaced; a replacement that replaces nothing is a fault."""
        code = self.code
        for old, new in self.replace.items():
            assert old in code, f"{old!r} does not stand in:\n{code}"
            code = code.replace(old, new)
        return code


@dataclass(frozen=True)
class Page:
    """One Markdown file."""

    path: Path
    blocks: tuple[Block, ...]
    starts_with: tuple[str, ...] = ()
    small: dict[str, str] = field(default_factory=dict)

    @property
    def name(self) -> str:
        return str(self.path.relative_to(ROOT))


def read_page(path: Path) -> Page:
    text = path.read_text(encoding="utf-8")
    about_page: dict[str, Any] = {}
    pending: dict[str, Any] = {}
    blocks = []
    for hit in sorted([*COMMENT.finditer(text), *BLOCK.finditer(text)], key=lambda hit: hit.start()):
        if hit.re is BLOCK and hit["language"].startswith("{"):
            continue  # a directive of the site
        if hit.re is BLOCK:
            blocks.append(
                Block(hit["language"], hit["code"], pending.get("replace", {}), pending.get("not run", "").strip())
            )
            pending = {}
            continue
        keys = yaml.safe_load(hit["keys"])
        assert keys.keys() <= (PAGE_KEYS if hit["page"] else BLOCK_KEYS), f"{path}: {keys}"
        if hit["page"]:
            about_page |= keys
        else:
            pending = keys
    return Page(path, tuple(blocks), tuple(about_page.get("starts with", ())), about_page.get("small", {}))


def all_pages() -> list[Page]:
    """README, CONTRIBUTING, SKILL and docs; a page that a notebook makes is read as the notebook."""
    docs = [path for path in sorted((ROOT / "docs").rglob("*.md")) if "_build" not in path.parts]
    written = [path for path in docs if not path.with_suffix(".ipynb").is_file()]
    return [read_page(path) for path in [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "SKILL.md", *written]]
