"""The verb `evaluate`: prediction files in, `metrics.json`, curve tables, figures and one self-contained page out."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from mammo_aln.evaluation.across import between_centres
from mammo_aln.evaluation.cohorts import CohortTable
from mammo_aln.evaluation.inputs import seen_inputs
from mammo_aln.evaluation.judge import judge
from mammo_aln.evaluation.people import Development, describe_people
from mammo_aln.evaluation.predictions import read_predictions
from mammo_aln.evaluation.report.curves import curve_tables, samples_of
from mammo_aln.evaluation.report.gallery import pictures
from mammo_aln.evaluation.report.page import Report
from mammo_aln.evaluation.report.plots import spoken
from mammo_aln.evaluation.report.tables import spared_table
from mammo_aln.files import read_object, write_csv, write_json, write_text
from mammo_aln.progress import say


def evaluate_files(
    files: Sequence[Path],
    out: Path,
    *,
    run: Path | None = None,
    cohorts: Sequence[CohortTable] = (),
    resamples: int = 2000,
    seed: int = 0,
) -> Path:
    """Judge prediction files of one model: `metrics.json`, curve tables, `figures/` (SVG and PDF) and `report.html`.

    Args:
        files: predictions of one or several splits; threshold, recipe, ... stand in the JSON beside each (same stem).
        out: folder to write to.
        run: run directory; its own `predictions.csv` (train, val) is judged too, and the baseline of the patients it
            learnt from stands beside that of the cohorts.
        cohorts: tables of the patients; they add subgroups, baseline table and centre shift.
        resamples: bootstrap resamples.
        seed: of the bootstrap.

    Returns:
        Path of the report.

    Raises:
        InputError: a table is wrong, files are of different models, or a patient stands in two splits.
    """
    out = Path(out)
    predictions = read_predictions([Path(path) for path in files], run)
    judgement = judge(predictions, resamples=resamples, seed=seed)
    samples = samples_of(predictions)
    heterogeneity = between_centres({name: samples["", name] for name in judgement.comparable_centers})
    spared = spared_table(samples)
    threshold, names = judgement.threshold.value, {name: spoken(name) for name in ("train", "val", *judgement.splits)}
    people = describe_people(predictions, cohorts, Development.read(run), threshold, names)
    curves = curve_tables(samples)
    tables = curves | (people.tables() if people else {}) | ({"operations_spared": spared} if len(spared) else {})
    figures = pictures(samples, curves, judgement, heterogeneity, people)
    report = Report(
        predictions, judgement, heterogeneity, people, spared, figures, tables, resamples, trained=_day_of(run)
    )
    page = report.page()
    inputs = seen_inputs(predictions.facts)
    for warning in inputs.warnings if inputs else ():
        say(warning)
    for name, table in tables.items():
        write_csv(out / f"{name}.csv", table)
    for section in figures.values():
        for picture in section:
            picture.write(out / "figures")
    more = {"heterogeneity": heterogeneity.to_json(), "operations_spared": spared.to_dict("records")}
    if predictions.facts["inputs"]:
        more["inputs"] = predictions.facts["inputs"]
    write_json(out / "metrics.json", judgement.to_json() | more | (people.to_json() if people else {}))
    write_text(out / "report.html", page)
    return out / "report.html"


def _day_of(run: Path | None) -> str:
    """Day on which a run was completed, or nothing where its state.json does not say."""
    path = Path(run) / "state.json" if run else None
    if path is None or not path.is_file():
        return ""
    return str(read_object(path).get("ended") or "")[:10]
