"""Plans, choices and openings of sealed tests, as they are written to a cohort's ledger and stand among each other."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pandas as pd

from mammo_aln.cohort.content import cohort_content
from mammo_aln.cohort.tables import Cohort
from mammo_aln.errors import InputError
from mammo_aln.runs.ledger import (
    LEDGER,
    Choice,
    CutOff,
    Entry,
    Opening,
    Plan,
    append,
    broken_links,
    held,
    ledger_entries,
    ledger_of,
    ledgers_of,
    named_digests,
    of_cohort,
    read_entries,
)
from mammo_aln.runs.past import Past, lines_elsewhere, past_of, refuse_changed, tell_other_training, trained_until
from mammo_aln.runs.record import now
from mammo_aln.runs.seal import NOT_A_TEST, digest_of


@dataclass(frozen=True)
class OpeningRecord:
    """One opening among the others: `splits[split]` of `predictions.json`.

    Args:
        opened: openings of this split so far, this one too.
        runs_before: other runs that opened it earlier.
        by_this_run: openings by this run, this one too.
        n_labelled: labelled rows scored.
        time: of this opening.
        declared: announced by a plan that stood before it; `opened_before_plan` tells whether the test was sealed then.
        plan: that plan's id.
        plan_what: that plan in words.
        plan_time: when it was declared.
        contents: different states of the cohort among the openings, as far as their lines are whole.
        opened_before_plan: openings of this split that stood before the plan; None without a plan.
        opened_before_plan_time: when the last of them was; None where there is none, or where a crash cut its line off.
        plan_models: models that the plan names; None without a plan, or where it could not name them beforehand.
        choice_time: when validation chose this model under the plan; None where the plan leaves nothing to choose.
        choice_ranked: models that it was chosen from.
        opened_before_choice: openings of this split that stood before the choice.
        beside_plan: why no plan of this split announces this opening; None where one does, or there is none.
        past: what the ledgers say of these patients and of themselves; None in records of an earlier version.
    """

    opened: int
    runs_before: int
    by_this_run: int
    n_labelled: int
    time: str
    declared: bool
    plan: str | None
    plan_what: str | None
    plan_time: str | None
    contents: int
    opened_before_plan: int | None = None
    opened_before_plan_time: str | None = None
    plan_models: int | None = None
    choice_time: str | None = None
    choice_ranked: int | None = None
    opened_before_choice: int | None = None
    beside_plan: str | None = None
    past: Past | None = None


def labelled_rows(table: pd.DataFrame, learnt_from: Sequence[str] = NOT_A_TEST) -> dict[str, int]:
    """Count the labelled rows of each split that counts as a test.

    Args:
        table: `aln_status` and `split`.
        learnt_from: splits that are none, since the run learnt from them or cross-validated on them; to a run that
            learnt from another cohort every split is a test, whatever its name.
    """
    labelled = table[table["aln_status"].notna() & ~table["split"].isin(list(learnt_from))]
    return {str(split): len(rows) for split, rows in labelled.groupby("split", sort=True)}


def declare_plan(
    cohort: Cohort,
    runs: Sequence[str],
    splits: Sequence[str],
    *,
    what: str,
    openings: int | None = None,
    ledger: Path | None = None,
) -> str:
    """Declare which models may open which splits, before any does; the same plan again is the same id and no new line.

    Args:
        cohort: the cohort whose splits will be opened.
        runs: ids of the models (identities are known before training); none for a search, which names them by
            `record_choice` alone.
        splits: labelled test splits.
        what: the plan in words, such as `ladder of 4 steps` (printed in the report).
        openings: how many models the plan announces to open each split; by default all. Where they are fewer,
            `record_choice` must say which, before they open anything.
        ledger: file to keep instead of the cohort folder's.

    Returns:
        The plan's id (12 hex digits).
    """
    content = cohort_content(cohort)
    announced = len(set(runs)) if openings is None else openings
    plan: dict[str, Any] = {
        "runs": sorted(set(runs)),
        "splits": sorted(set(splits)),
        "what": what,
        "openings": announced,
    }
    identity = digest_of(plan | {"cohort": content})[:12]
    path = ledger_of(cohort, ledger)
    with held(path) as stream:
        if not any(isinstance(e, Plan) and e.plan == identity for e in read_entries(stream, path)):
            append(stream, Plan(time=now(), plan=identity, cohort=content, cohort_name=cohort.name, **plan))
    return identity


def record_choice(cohort: Cohort, plan: str, runs: Sequence[str], *, ranked: int, ledger: Path | None = None) -> None:
    """Say which of a plan's models are to open its splits, as validation chose them; the same choice is no new line.

    Args:
        cohort: the plan's cohort.
        plan: its id.
        runs: ids of the chosen models.
        ranked: number of models that they were chosen from.
        ledger: file to keep instead of the cohort folder's.

    Raises:
        InputError: the ledger cannot be written, holds no such plan, or one that does not allow this choice.
    """
    content, chosen = cohort_content(cohort), sorted(set(runs))
    path = ledger_of(cohort, ledger)
    with held(path) as stream:
        entries = of_cohort(read_entries(stream, path), cohort, content)
        declared = next((e for e in entries if isinstance(e, Plan) and e.plan == plan), None)
        if declared is None:
            raise InputError(f"{path}: no plan {plan} was declared there")
        strangers = set(chosen) - set(declared.runs) if declared.runs else set()
        if strangers or len(chosen) > declared.openings:
            raise InputError(
                f"{path}: plan {plan} announces {declared.openings} of its {len(declared.runs)} models; it does not"
                f" allow the choice of {', '.join(chosen)}"
            )
        choice = Choice(now(), plan, content, cohort.name, chosen, ranked)
        former = _choices(entries, plan)
        if not former or (former[-1].runs, former[-1].ranked) != (choice.runs, choice.ranked):
            append(stream, choice)


def opened_before(cohort: Cohort, plan: str, ledger: Path | None = None) -> dict[str, list[Opening | CutOff]]:
    """List the openings of a plan's splits that stood before the plan, by split; splits without any are left out.

    Args:
        cohort: the plan's cohort.
        plan: its id.
        ledger: file that is kept instead of the cohort folder's.
    """
    entries = ledger_entries(cohort, ledger)
    declared = next((e for e in entries if isinstance(e, Plan) and e.plan == plan), None)
    if declared is None:
        return {}
    before = {split: _openings_before(entries, declared, split) for split in declared.splits}
    return {split: openings for split, openings in before.items() if openings}


def record_opening(
    cohort: Cohort,
    run_id: str,
    split: str,
    n_labelled: int,
    *,
    plan: str | None = None,
    run: Path | None = None,
    ledger: Path | None = None,
    missing: Mapping[str, int] | None = None,
    patients: Iterable[str] = (),
    frozen: Mapping[str, Any] | None = None,
) -> OpeningRecord:
    """Append one opening of a labelled test split, and say how it stands among the others.

    Args:
        cohort: the cohort that is opened.
        run_id: the run that opens it.
        split: the split.
        n_labelled: labelled rows scored.
        plan: id of a declared plan; where it is None, a plan that announced this run and split is looked up.
        run: run directory that keeps a copy of the line.
        ledger: file to keep instead of both folders' files.
        missing: patients of the split that lacked each input that the run was trained with.
        patients: names of the patients who are scored.
        frozen: digests of the run's frozen files, or of each member's.

    Raises:
        InputError: the ledger cannot be written, `plan` is not one that stands there for this run and split, or the
            run is another than when it opened a test before.
    """
    content = cohort_content(cohort)
    first, *copies = ledgers_of(cohort, ledger, run)
    names, model = named_digests(cohort, patients), digest_of(frozen)[:16] if frozen else None
    with held(first) as stream:
        own = read_entries(stream, first)
        entries = of_cohort(own, cohort, content)
        elsewhere = lines_elsewhere(own, [cohort.root / LEDGER, *([run / LEDGER] if run else [])], first)
        if run:
            refuse_changed(lines_elsewhere([], [run / LEDGER], first), run_id, model, run / LEDGER)
        tell_other_training([*own, *elsewhere], run_id, model)
        lost = [e for e in of_cohort(elsewhere, cohort, content) if isinstance(e, Opening) and e.split == split]
        before = [e for e in entries if isinstance(e, CutOff) or (isinstance(e, Opening) and e.split == split)]
        before = [*lost, *before]
        declared, beside_plan = _plan_for(entries, run_id, split, plan, first)
        announced = declared.plan if declared else None
        opening = Opening(
            now(), run_id, content, cohort.name, split, n_labelled, announced, missing, names or None, model
        )
        links, trained = broken_links(stream), trained_until(run)
        past = past_of(own, opening, links, len(lost), trained, own=first == ledger_of(cohort))
        append(stream, opening)
    for path in copies:
        with held(path) as stream:
            append(stream, replace(opening, patients=None))
    runs = [e.run_id for e in before]
    before_plan = _openings_before(entries, declared, split) if declared else []
    choice = _choices(entries, declared.plan)[-1] if declared and declared.awaits_choice else None
    return OpeningRecord(
        opened=len(before) + 1,
        runs_before=len(set(runs) - {run_id}),
        by_this_run=runs.count(run_id) + 1,
        n_labelled=n_labelled,
        time=opening.time,
        declared=declared is not None,
        plan=opening.plan,
        plan_what=declared.what if declared else None,
        plan_time=declared.time if declared else None,
        contents=len({e.cohort for e in before if isinstance(e, Opening)} | {content}),
        opened_before_plan=len(before_plan) if declared else None,
        opened_before_plan_time=before_plan[-1].time if before_plan else None,
        plan_models=len(declared.runs) or None if declared else None,
        choice_time=choice.time if choice else None,
        choice_ranked=choice.ranked if choice else None,
        opened_before_choice=len(_openings_before(entries, choice, split)) if choice else None,
        beside_plan=None if declared else beside_plan,
        past=past,
    )


def _openings_before(entries: Sequence[Entry], line: Plan | Choice, split: str) -> list[Opening | CutOff]:
    """List the openings of a split that stand above a line; the ledger's order counts, clocks may differ."""
    above = entries[: next(number for number, e in enumerate(entries) if e is line)]
    return [e for e in above if isinstance(e, CutOff) or (isinstance(e, Opening) and e.split == split)]


def _choices(entries: Sequence[Entry], plan: str) -> list[Choice]:
    return [e for e in entries if isinstance(e, Choice) and e.plan == plan]


def _plan_for(
    entries: Sequence[Entry], run_id: str, split: str, plan: str | None, path: Path
) -> tuple[Plan | None, str | None]:
    """Find the plan that announced this opening; without one, say why a plan that names the model did not."""
    plans = [
        e
        for e in entries
        if isinstance(e, Plan)
        and split in e.splits
        and (run_id in e.runs or (not e.runs and any(run_id in choice.runs for choice in _choices(entries, e.plan))))
    ]
    if plan is not None:
        plans = [e for e in plans if e.plan == plan]
        if not plans:
            raise InputError(f"{path}: no plan {plan} was declared there for run {run_id} and split {split}")
    reason = None if plans else _names_others(entries, split)
    for declared in plans:
        reason = _not_announced(entries, declared, run_id, split)
        if reason is None:
            return declared, None
    return None, reason


def _names_others(entries: Sequence[Entry], split: str) -> str | None:
    """Say that the plans of a split name other models; None where none names any."""
    plans = [entry for entry in entries if isinstance(entry, Plan) and split in entry.splits and entry.runs]
    if not plans:
        return None
    last = plans[-1]
    return (
        f"plan {last.plan} of {last.time} ({last.what}) names other models; runs of a configuration that differ in seed"
        " or fold are one model together, and another one each"
    )


def _not_announced(entries: Sequence[Entry], plan: Plan, run_id: str, split: str) -> str | None:
    """Say why a plan that names a model does not announce its opening of a split; None where it does."""
    choices = _choices(entries, plan.plan)
    name = f"plan {plan.plan} of {plan.time} ({plan.what})"
    if plan.awaits_choice and not choices:
        return f"{name} names this model among its {len(plan.runs)}, and no choice among them was recorded"
    if plan.awaits_choice and run_id not in choices[-1].runs:
        return (
            f"{name} names this model among others, and validation chose {', '.join(choices[-1].runs)}"
            f" on {choices[-1].time}"
        )
    # An earlier version wrote openings under a plan by models that nothing had chosen: they use up none.
    allowed = {chosen for choice in choices for chosen in choice.runs} if plan.awaits_choice else set(plan.runs)
    under = {
        e.run_id
        for e in entries
        if isinstance(e, Opening) and e.split == split and e.plan == plan.plan and e.run_id in allowed
    }
    if run_id not in under and len(under) >= plan.openings:
        return f"{name} announced {plan.openings}, which {', '.join(sorted(under))} had opened"
    return None
