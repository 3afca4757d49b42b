"""Pages of a sweep: their template environment, and the words of their heads."""

from __future__ import annotations

from dataclasses import dataclass

from mammo_aln.evaluation.report.environment import page_environment
from mammo_aln.sweeps.plan import Plan


@dataclass(frozen=True)
class Head:
    """Name and origin of the sweep that a page is of.

    Attributes:
        name: of the sweep's folder.
        cohort: its name, and its folder's where that is another one.
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
    folder = plan.cohort.resolve().name
    own = plan.cohort_name in ("", folder)
    cohort = folder if own else f"{plan.cohort_name} (folder {folder})"
    return Head(plan.out.resolve().name, cohort, plan.content[:12], plan.created)


def number(value: float | None, form: str = ".3f") -> str:
    """Write a figure; a dash where it is not known."""
    return "–" if value is None else format(value, form)


PAGES = page_environment("mammo_aln.sweeps", number=number)
