"""One template environment for the pages of all rooms, and the script that sorts the tables of some."""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Callable
from importlib import resources

from jinja2 import ChoiceLoader, Environment, PackageLoader, StrictUndefined

ROOM = "mammo_aln.evaluation.report"
SORT = resources.files(ROOM).joinpath("templates", "sort.js").read_text(encoding="utf-8")
BREAKS = re.compile(r"(?:(?<![\w.])-)?\d+(?:\.\d+)*(?:e[+-]?\d+)?|[_.:/+=-]")
"""Numbers, and what a name may be broken behind."""
SORT_DIGEST = "sha256-" + base64.b64encode(hashlib.sha256(SORT.encode()).digest()).decode()
"""Names the one script that a page's policy lets run."""


def page_environment(*rooms: str, **words: Callable[..., str]) -> Environment:
    """Build the template environment of a page: the room's own templates first, then those of the report.

    Args:
        rooms: packages that hold a folder `templates`, such as `mammo_aln.explain`.
        words: functions that the templates may call, by name.
    """
    loaders = [PackageLoader(room) for room in (*rooms, ROOM)]
    environment = Environment(
        loader=ChoiceLoader(loaders), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.globals.update(words, breakable=breakable, sort_script=SORT, sort_digest=SORT_DIGEST)
    return environment


def breakable(name: object) -> str:
    """Let a browser break a name behind its dots, colons, dashes and the like, nowhere else, and never in a number."""
    return BREAKS.sub(lambda hit: hit.group() if hit.group()[-1].isdigit() else f"{hit.group()}\u200b", str(name))
