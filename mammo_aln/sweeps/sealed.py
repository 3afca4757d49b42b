"""The sealed test of a sweep: declared before it trains, bound to what validation chose, opened once, kept for good."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from mammo_aln import __version__
from mammo_aln.cohort.tables import Cohort, read_cohort, with_split
from mammo_aln.errors import InputError
from mammo_aln.evaluation.compare import Link, Source, compare_files
from mammo_aln.evaluation.evaluate import evaluate_files
from mammo_aln.evaluation.predictions import read_table
from mammo_aln.files import make_folder, write_json, written_whole
from mammo_aln.progress import say
from mammo_aln.runs.openings import declare_plan, labelled_rows, opened_before, record_choice
from mammo_aln.runs.record import now
from mammo_aln.sweeps.choosing.configurations import Configuration, model_id
from mammo_aln.sweeps.plan import Plan
from mammo_aln.sweeps.standing.curves import curves_of
from mammo_aln.sweeps.standing.pages import head_of
from mammo_aln.training.baseline import cohort_table

FOLDER = "test"
OPENED = "opened.json"
REPORT_FILES = [
    "opened",
    "comparisons",
    "ladder",
    "metrics",
    "roc",
    "precision_recall",
    "calibration",
    "decision_curve",
    "baseline_by_split",
    "baseline_by_outcome",
    "centre_profile",
    "subgroups",
    "operations_spared",
]
"""Files that a report writes beside the predictions."""
LONGEST_NAME, SHORTENED_NAME = 200, 60
"""Of a file, without its ending and what it is called while it is written: bytes, and letters before a digest."""


@dataclass(frozen=True)
class OpenedTest:
    """Content of a folder of test reports, `opened.json`.

    Attributes:
        models: id of each model, by the name of its predictions file.
        plan: id of the plan in the cohort's ledger.
        resamples: bootstrap resamples.
        package_version: version that judged.
        page: file name of the report.
        time: when it was written, UTC.
    """

    models: Mapping[str, str]
    plan: str | None
    resamples: int
    package_version: str
    page: str
    time: str


def tests_all(plan: Plan) -> bool:
    """Tell whether every configuration is tested, as the file says or as steps of a ladder, not the chosen one."""
    return plan.opens_test or any("step" in cell.axes for cell in plan.cells)


def declare(plan: Plan) -> str | None:
    """Announce in the cohort's ledger what this sweep will open, before it trains; None where there is no test split.

    Where a split of the plan had been opened before, that is said: every report will say it too.
    """
    cohort = with_split(read_cohort(plan.cohort, need=("patients",)))
    splits = list(labelled_rows(cohort.patients))
    if not splits:
        return None
    models = [] if plan.search else _models(plan)
    try:
        identity = declare_plan(cohort, models, splits, what=_in_words(plan, models), openings=_announced(plan, models))
        opened = opened_before(cohort, identity)
    except InputError as error:
        say(f"the plan of this sweep could not be declared in the cohort's ledger: {error}")
        return None
    for split, openings in opened.items():
        own = sum(opening.plan is not None and opening.plan == plan.declared for opening in openings)
        former = f", {own} of them under this sweep's former plan {plan.declared}" if own else ""
        last = openings[-1].time or "at an unknown time"
        say(
            f"{split}: opened {len(openings)} time(s) already (last {last}{former}),"
            f" before the plan of these cells ({identity}) was declared: it is no longer sealed, and each report on it"
            " says so"
        )
    return identity


def _models(plan: Plan) -> list[str]:
    members: dict[tuple[tuple[str, str], ...], list[str]] = {}
    for cell in plan.cells:
        members.setdefault(cell.configuration, []).append(cell.run_id)
    return [model_id(ids) for ids in members.values()]


def _announced(plan: Plan, models: Sequence[str]) -> int:
    if not tests_all(plan):
        return 1
    return int(plan.search["trials"]) if plan.search else len(models)


def _in_words(plan: Plan, models: Sequence[str]) -> str:
    """Describe the plan: how many cells or trials, over what, and what is tested."""
    if plan.search:
        ranges = ", ".join(
            f"{name} {limits['low']:g} to {limits['high']:g}" for name, limits in plan.search["space"].items()
        )
        study = f", study {plan.search['study']}" if plan.search.get("study") else ""
        what, each = f"search of {plan.search['trials']} trials over {ranges or 'a grid'}{study}", "trial"
    else:
        what, each = f"sweep of {len(plan.cells)} cells in {len(models)} configurations", "configuration"
    tested = f"every {each} is tested" if tests_all(plan) else "the one that validation chooses is tested"
    return f"{what}; {tested}"


def bind_choice(plan: Plan, tested: Sequence[Configuration], ranked: int) -> None:
    """Write to the cohort's ledger which models of the declared plan validation chose.

    Raises:
        InputError: the ledger cannot be written, or the plan does not name these models.
    """
    if plan.declared is None or (tests_all(plan) and not plan.search):
        return
    cohort = with_split(read_cohort(plan.cohort, need=("patients",)))
    record_choice(cohort, plan.declared, [configuration.model_id for configuration in tested], ranked=ranked)


def open_tests(plan: Plan, tested: Sequence[Configuration], resamples: int, *, allow_missing: bool = False) -> Path:
    """Score every split with some configurations; returns the page that judges them.

    Several runs of a configuration (seeds, folds) are scored as one model, the mean of their logits. What was opened
    before is not opened again; a report of other models, or of another plan, stands in a folder of its own.

    Args:
        plan: the sweep.
        tested: the chosen configuration, or all.
        resamples: bootstrap resamples.
        allow_missing: score test patients who lack what the runs were trained with.
    """
    from mammo_aln.inference.predict import predict_cohort

    models = dict(zip(file_names([one.name.removeprefix("step=") for one in tested]), tested, strict=True))
    ids = {name: configuration.model_id for name, configuration in models.items()}
    by_step = any("step" in configuration.rows[0].cell.axes for configuration in tested)
    page = "comparisons.html" if len(models) > 1 else "report.html"
    about = OpenedTest(ids, plan.declared, resamples, __version__, page, now())
    folder, stands = _folder_for(plan.out, about)
    if stands:
        say(f"the test splits were opened with these models before: {folder / page}")
        return folder / page
    make_folder(folder)
    files = []
    for name, configuration in models.items():
        path = folder / f"{name}.csv"
        if not _is_of(path, configuration.model_id) and not _taken_over(plan.out, path, configuration.model_id):
            runs = [plan.runs / row.cell.run_id for row in configuration.rows]
            model: Path | list[Path] = runs[0] if len(runs) == 1 else runs
            predict_cohort(model, plan.cohort, path, store=plan.store, plan=plan.declared, allow_missing=allow_missing)
        files.append(path)
    if len(files) > 1:
        source = _source(plan, models)
        report = compare_files(files[0], files[1:], folder, resamples=resamples, ladder=by_step or None, source=source)
    else:
        cohort: Cohort = read_cohort(plan.cohort, need=("patients",))
        report = evaluate_files(files, folder, run=None, cohorts=[cohort_table(cohort)], resamples=resamples, seed=0)
    write_json(folder / OPENED, asdict(about))
    say(f"test splits opened with {len(files)} model(s): {report}")
    return report


def _source(plan: Plan, models: Mapping[str, Configuration]) -> Source:
    """Tell the page of several models where they come from; it lies in a folder beside the sweep's other pages."""
    links = [Link(text, f"../{file}") for text, file in (("Choice", "choice.html"), ("Board", "board.html"))]
    runs = {
        name: [Link(row.cell.run_id, f"../runs/{row.cell.run_id}/") for row in configuration.rows]
        for name, configuration in models.items()
    }
    rows = [row for configuration in models.values() for row in configuration.rows]
    return Source(head_of(plan).words, links, runs, curves_of(rows))


def report_folders(out: Path) -> list[Path]:
    """List the folders of test reports, oldest first."""
    numbered = {path: int(path.name.removeprefix(f"{FOLDER}-")) for path in out.glob(f"{FOLDER}-*") if _number(path)}
    first = [out / FOLDER] if (out / FOLDER).is_dir() else []
    return [*first, *sorted(numbered, key=numbered.__getitem__)]


def _number(path: Path) -> bool:
    return path.is_dir() and path.name.removeprefix(f"{FOLDER}-").isdigit()


def _folder_for(out: Path, about: OpenedTest) -> tuple[Path, bool]:
    """Find the folder that a report goes to, and whether the very report stands there; a former one is left alone."""
    folders = report_folders(out)
    for folder in folders:
        if _same(folder, about):
            return folder, True
    if folders and not any((folders[-1] / name).is_file() for name in (OPENED, "report.html", "comparisons.html")):
        return folders[-1], False  # a command was killed before its report
    return (out / f"{FOLDER}-{len(folders) + 1}" if folders else out / FOLDER), False


def _same(folder: Path, about: OpenedTest) -> bool:
    path = folder / OPENED
    if not path.is_file():
        return False
    try:
        plain = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        say(f"{path} cannot be read ({error}): its report is taken as another one, and left alone")
        return False
    known = isinstance(plain, dict) and {**plain, "time": ""} == {**asdict(about), "time": ""}
    return known and (folder / about.page).is_file()


def _taken_over(out: Path, path: Path, model: str) -> bool:
    """Copy a model's predictions and their JSON from a former report; False where none holds them."""
    for folder in reversed(report_folders(out)):
        former = folder / path.name
        if folder != path.parent and _is_of(former, model):
            for suffix in (".exclusions.csv", ".json", ".csv"):
                if former.with_suffix(suffix).is_file():
                    with written_whole(path.with_suffix(suffix)) as copy:
                        shutil.copyfile(former.with_suffix(suffix), copy)
            return True
    return False


def _is_of(path: Path, model: str) -> bool:
    """Tell whether a predictions file is already that model's: what was opened is not opened again."""
    if not path.is_file():
        return False
    table = read_table(path)
    return len(table) > 0 and bool((table["run_id"] == model).all())


def file_names(names: Sequence[str]) -> list[str]:
    """Name the predictions file of each model, no two alike: by its name, and a digest of it where that will not do."""
    plain = [re.sub(r"[^\w.+=-]+", "_", name).strip("_") or "all" for name in names]
    alike = Counter(name.casefold() for name in plain)
    return [
        short
        if alike[short.casefold()] == 1 and len(short.encode()) <= LONGEST_NAME and short.casefold() not in REPORT_FILES
        else f"{short[:SHORTENED_NAME]}-{hashlib.sha256(name.encode()).hexdigest()[:8]}"
        for name, short in zip(names, plain, strict=True)
    ]
