"""Pages of a sweep: their template environment, the words of their heads, and the script that sorts their tables."""

from __future__ import annotations

import base64
import hashlib
import re
from dataclasses import dataclass
from importlib import resources

from mammo_aln.evaluation.report.environment import page_environment
from mammo_aln.sweeps.plan import Plan

SORT = resources.files("mammo_aln.sweeps").joinpath("templates", "sort.js").read_text(encoding="utf-8")
SORT_DIGEST = "sha256-" + base64.b64encode(hashlib.sha256(SORT.encode()).digest()).decode()
"""Names the one script that a page's policy lets run."""


@dataclass(frozen=True)
class Head:
    """Name and origin of the sweep that a page is of.

    Attributes:
        name: of the sweep's folder.
        cohort: name of the cohort's folder.
        content: first digits of the digest of the cohort's tables.
        planned: when, UTC.
    """

    name: str
    cohort: str
    content: str
    planned: str

    @property
    def words(self) -> str:
        """Name the sweep and its cohort."""
        return f"Sweep {self.name} of cohort {self.cohort}"


def head_of(plan: Plan) -> Head:
    """Name a sweep, its cohort and the time of its plan."""
    return Head(plan.out.resolve().name, plan.cohort.resolve().name, plan.content[:12], plan.created)


def breakable(name: object) -> str:
    """Let a browser break a name behind its dots, colons, dashes and the like, and nowhere else."""
    return re.sub(r"([_.:/+=-])", "\\1\u200b", str(name))


def number(value: float | None, form: str = ".3f") -> str:
    """Write a figure; a dash where it is not known."""
    return "–" if value is None else format(value, form)


PAGES = page_environment("mammo_aln.sweeps", breakable=breakable, number=number)
PAGES.globals.update(sort_script=SORT, sort_digest=SORT_DIGEST)
