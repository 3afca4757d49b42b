"""What became of a reader's inputs, kept in a folder beside those that no user should ever meet."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path

from benchmarks.hostile.targets import Inputs, Target
from mammo_aln.files import write_json


class Verdict(Enum):
    """End of one input; the last five should never be."""

    READ = "read"
    REFUSED = "refused in words"
    DIED = "decoder died, excluded in words"
    FAULT = "told as a fault of the product"
    OTHER = "other exception"
    MEMORY = "too much memory"
    HANG = "hang"
    CRASH = "crash"


SOUND = (Verdict.READ, Verdict.REFUSED, Verdict.DIED)


@dataclass
class Outcome:
    """What became of inputs.

    Attributes:
        counts: inputs by verdict.
        offenders: number, and in words what happened, of those that should not be.
        died: numbers of those whose decoder died.
        seconds: in all.
    """

    counts: Counter[str] = field(default_factory=Counter)
    offenders: dict[int, str] = field(default_factory=dict)
    died: list[int] = field(default_factory=list)
    seconds: float = 0.0

    def add(self, number: int, verdict: Verdict, words: str = "") -> None:
        """Count an input."""
        self.counts[verdict.value] += 1
        if verdict is Verdict.DIED:
            self.died.append(number)
        if verdict not in SOUND:
            self.offenders[number] = f"{verdict.value}: {words}"


def kept_outcome(
    keep: Path, target: Target, numbers: range, seed: int, inputs: Inputs, run: Callable[[Sequence[int]], Outcome]
) -> Outcome:
    """Bring an outcome back from a folder, or run and keep it there, with its offending inputs.

    Args:
        keep: the folder.
        target: the reader.
        numbers: its inputs.
        seed: what draws them, by which an outcome is known again.
        inputs: makes them.
        run: reads them.
    """
    path = keep / f"{file_name(target)}.json"
    if path.is_file():
        plain = json.loads(path.read_text(encoding="utf-8"))
        if (plain.pop("inputs"), plain.pop("seed")) == (len(numbers), seed):
            offenders = {int(number): words for number, words in plain.pop("offenders").items()}
            return Outcome(Counter(plain.pop("counts")), offenders, **plain)
    outcome = run(numbers)
    for number in [*outcome.offenders, *outcome.died]:
        seed_file, content = inputs(number)
        own = keep / file_name(target) / f"{number}_{seed_file.name}"
        own.parent.mkdir(parents=True, exist_ok=True)
        own.write_bytes(content)
    counted = {"inputs": len(numbers), "seed": seed, **vars(outcome), "counts": dict(outcome.counts)}
    write_json(path, counted)
    return outcome


def kept_input(keep: Path, target: Target, number: int) -> tuple[Path, bytes]:
    """Bring one offending input back."""
    (path,) = (keep / file_name(target)).glob(f"{number}_*")
    return Path(path.name.partition("_")[2]), path.read_bytes()


def file_name(target: Target) -> str:
    """Name of a reader's folder and file among what is kept."""
    return re.sub(r"\W+", "_", target.name).strip("_")
