"""The verb `compare`: two or more prediction files of the same patients, side by side."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from mammo_aln import __version__
from mammo_aln.errors import InputError
from mammo_aln.evaluation.judge import frozen_threshold, judge_sample, split_samples
from mammo_aln.evaluation.metric import Metric
from mammo_aln.evaluation.pairs import (
    BENEFIT,
    BENEFIT_AT,
    CUTOFFS,
    Pair,
    benefit_table,
    compare_models,
    comparison_table,
    in_splits_of,
    ladder_table,
)
from mammo_aln.evaluation.predictions import read_predictions
from mammo_aln.evaluation.report import plots
from mammo_aln.evaluation.report.multiples import Curves
from mammo_aln.evaluation.report.page import PAGES, csv_link
from mammo_aln.evaluation.report.pairwise import overlays
from mammo_aln.evaluation.report.plots import figure_text, safer_auc, spoken
from mammo_aln.evaluation.report.words import openings
from mammo_aln.files import write_csv, write_json, write_text

A_LADDER = 3  # files from which on each is set against the one before it, too


@dataclass(frozen=True)
class Link:
    """A link of a page: its text, and an address relative to the page."""

    text: str
    address: str


@dataclass(frozen=True)
class Source:
    """Origin of the models that a page compares, as far as it is known.

    Attributes:
        words: for its head.
        links: to other pages.
        runs: links to each model's runs, by its name.
        curves: learning curves of the models.
    """

    words: str = ""
    links: Sequence[Link] = ()
    runs: Mapping[str, Sequence[Link]] = field(default_factory=dict)
    curves: Curves | None = None


def compare_files(
    reference: Path,
    others: Sequence[Path],
    out: Path,
    *,
    resamples: int = 2000,
    ladder: bool | None = None,
    source: Source = Source(),
) -> Path:
    """Compare models on the same patients: `comparisons.json`, its table, `figures/` and `comparisons.html`.

    Args:
        reference: predictions that the others are measured against.
        others: one or more predictions of the same patients; a human reader's scores are one more such file.
        out: folder to write to.
        resamples: bootstrap resamples of each model's own AUC.
        ladder: set each file against the one before it, too (`ladder.csv`); by default, of three files or more.
        source: where the models come from.

    Returns:
        Path of the page. Holm's correction runs over the models compared with the reference in one split.

    Raises:
        InputError: a table is wrong, or two files share no patient or split, or contradict each other's outcomes.
    """
    paths = [Path(reference), *(Path(path) for path in others)]
    if len(paths) < 2:
        raise InputError("compare needs a reference and at least one other predictions file")
    first, *rest = names = _stems(paths)
    models = {name: read_predictions([path]) for name, path in zip(names, paths, strict=True)}
    models |= {name: in_splits_of(models[first], models[name], (first, name)) for name in rest}
    splits = {name: model.splits() for name, model in models.items()}
    for name in rest:
        if not set(splits[first]) & set(splits[name]):
            shown = " against ".join(", ".join(splits[model]) for model in (first, name))
            raise InputError(f"{first} and {name} share no split ({shown}); compare files of the same patients")
    thresholds = {name: frozen_threshold(model) for name, model in models.items()}
    pairs = compare_models(models, [(first, name) for name in rest], thresholds, resamples=resamples)
    samples = {name: split_samples(model) for name, model in models.items()}
    judged = {
        name: {
            split: judge_sample(sample, thresholds[name], resamples=resamples)
            for split, sample in samples[name].items()
        }
        for name in models
    }
    areas = {
        name: {split: (figures["n"].value, safer_auc(figures)) for split, figures in by_split.items()}
        for name, by_split in judged.items()
    }
    tables = {"comparisons": comparison_table(pairs)}
    benefit = benefit_table(models, [(first, name) for name in rest])
    if len(benefit):
        tables["net_benefit_differences"] = benefit
    if len(models) >= A_LADDER if ladder is None else ladder:
        tables["ladder"] = ladder_table(models, areas)
    pictures = [_forest(pairs), *overlays(samples, judged)]
    page = PAGES.get_template("compare.html.j2").render(
        version=__version__,
        reference=first,
        source=source,
        pairs=pairs,
        areas=areas,
        splits=splits[first],
        pictures=pictures,
        text=figure_text,
        spoken=spoken,
        cutoffs=CUTOFFS,
        benefit_at=dict(zip(BENEFIT, BENEFIT_AT, strict=True)),
        ladder=tables["ladder"].to_dict("records") if "ladder" in tables else [],
        notes=sorted(
            {
                f"{spoken(pair.split)}: {pair.figures['delong_p'].details['note']}"
                for pair in pairs
                if "note" in pair.figures["delong_p"].details
            }
        ),
        openings={name: sentences for name, model in models.items() if (sentences := openings(model.facts))},
        downloads={f"{name}.csv": csv_link(table) for name, table in tables.items()},
    )
    out = Path(out)
    for name, table in tables.items():
        write_csv(out / f"{name}.csv", table)
    for picture in pictures:
        picture.write(out / "figures")
    write_json(out / "comparisons.json", [pair.to_json() for pair in pairs])
    write_text(out / "comparisons.html", page)
    return out / "comparisons.html"


def _stems(paths: Sequence[Path]) -> list[str]:
    """A name per file: its stem, or folder/stem where stems repeat (every run calls its file predictions.csv)."""
    stems = [path.stem for path in paths]
    named = stems if len(set(stems)) == len(stems) else [f"{path.resolve().parent.name}/{path.stem}" for path in paths]
    if len(set(named)) < len(named):
        raise InputError(f"two of the files have the same name: {', '.join(named)}; give one of them another name")
    return named


def _forest(pairs: Sequence[Pair]) -> plots.Picture:
    rows = [
        (f"{pair.other}, {spoken(pair.split)}", pair.figures["auc_difference"], _p_text(pair.figures["delong_p_holm"]))
        for pair in pairs
    ]
    title = f"Difference in AUC against {pairs[0].reference}"
    return plots.forest(title, rows, f"AUC minus that of {pairs[0].reference} (95 % interval)", 0.0)


def _p_text(p: Metric) -> str:
    return "–" if p.value is None else f"p = {p.value:.3g}"
