"""One fact that `check` tells of a cohort."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Finding:
    """A fact about a `subject` (an image, patient, split or feature). A problem fails the check, a flag does not."""

    fact: str
    subject: str
    problem: bool
