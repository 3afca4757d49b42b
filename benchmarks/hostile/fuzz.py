"""Fuzzing: mutations of real files, each read by every road that a user's file may take, and what became of them."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

from benchmarks.hostile.outcomes import Outcome, Verdict, kept_input, kept_outcome
from benchmarks.hostile.seeds import targets_of
from benchmarks.hostile.whole_road import cropped_beside
from benchmarks.hostile.worker import LIMIT_S, MEMORY_BYTES, content_of, read_numbers
from benchmarks.page import OUT, Section, table
from mammo_aln.progress import say

SHOWN = 20
MOST_DEADLY = 12
"""So many of the files whose decoder died go the whole road of the command line."""


def fuzz(
    inputs: int = 10_000,
    seed: int = 0,
    only: Sequence[str] = (),
    shared: Path = Path("../shared"),
    keep: Path | None = None,
) -> Section:
    """Read mutated files of every kind that a user may bring: DICOM, tables, YAML, volumes, regions, checkpoints, runs.

    Args:
        inputs: in all; each reader gets its share of them, by what it reads in a second.
        seed: draws the mutations; input n of a reader is the same whatever was read before it.
        only: names of readers; all where empty.
        shared: folder of real files, whose `data` and `cases` are used beside a small phantom.
        keep: folder of outcomes and offending inputs. A reader whose outcome stands there is not run anew: its
            offending inputs alone are read once more, by the code as it is now.
    """
    keep = keep or OUT / "fuzz" / f"seed_{seed}"
    with tempfile.TemporaryDirectory(prefix="mammo_aln_fuzz_") as name:
        every = targets_of(Path(name), shared)
        shares = sum(target.share for target in every)
        rows = []
        for target in every:
            if only and target.name not in only:
                continue
            numbers, made = range(-(-inputs * target.share // shares)), partial(content_of, target, seed)
            first = kept_outcome(
                keep, target, numbers, seed, made, partial(read_numbers, target, inputs=made, folder=Path(name))
            )
            kept = partial(kept_input, keep, target)
            again = read_numbers(target, sorted(first.offenders), kept, Path(name))
            for number, words in list(again.offenders.items())[:SHOWN]:
                say(f"{target.name} {number}: {words}")
            rows.append((target.name, first, again))
        died = {str(number) for target, first, _ in rows if target == "pixels" for number in first.died}
        deadly = [path for path in sorted((keep / "pixels").glob("*")) if path.name.split("_")[0] in died]
        sample = deadly[:: max(1, len(deadly) // MOST_DEADLY)][:MOST_DEADLY]
        whole_road = [cropped_beside(sample, Path(name) / "drawn", Path(name) / "whole_road")] if sample else []
    return Section(
        "Hostile inputs",
        f"{sum(first.counts.total() for _, first, _ in rows):,} mutated inputs (seed {seed}), each with {LIMIT_S:g} s "
        f"and {MEMORY_BYTES >> 30} GB; the readers took {sum(first.seconds for _, first, _ in rows) / 60:.0f} min "
        "on a machine that did other work too. Where a reader's outcome was kept (`--keep`), its offending "
        "inputs alone were read again here, by the code as it is (`offending still`)",
        [*whole_road, ""] * bool(whole_road)
        + table(
            ("reader", "inputs", *(verdict.value for verdict in Verdict), "offending still", "inputs/s"),
            [_row(name, first, again) for name, first, again in [*rows, ("all", *_sums(rows))]],
        ),
    )


def _row(name: str, first: Outcome, again: Outcome) -> tuple[object, ...]:
    counts = [f"{first.counts[verdict.value]:,}" for verdict in Verdict]
    rate = first.counts.total() / max(first.seconds, 1e-9)
    return name, f"{first.counts.total():,}", *counts, len(again.offenders), f"{rate:.0f}"


def _sums(rows: Sequence[tuple[str, Outcome, Outcome]]) -> tuple[Outcome, Outcome]:
    sums = [Outcome(), Outcome()]
    for number, (_, *outcomes) in enumerate(rows):
        for index, outcome in enumerate(outcomes):
            before = sums[index]
            own = {number * 10**9 + key: words for key, words in outcome.offenders.items()}
            offenders = {**before.offenders, **own}
            counts, seconds = before.counts + outcome.counts, before.seconds + outcome.seconds
            sums[index] = replace(before, counts=counts, offenders=offenders, seconds=seconds)
    return sums[0], sums[1]
