"""Commands that are tortured: every verb that writes, with what it writes and what of that may differ."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Command:
    """A command, from the beginning that `torture_cohort` writes.

    Attributes:
        name: in the table of results.
        words: behind `mammo-aln`; those that begin with @ are paths in the folder.
        share: of all faults, against the others.
        inputs: files that it reads, as patterns.
    """

    name: str
    words: Sequence[str]
    share: float = 1.0
    inputs: Sequence[str] = ("cohort/*.csv", "cohort/cohort.yaml", "dicom/*")


RUN = ("runs/*/*.json", "runs/*/config.yaml", "runs/*/checkpoints/*")
COMMANDS = (
    Command("index", ("index", "@dicom", "--out", "@indexed"), 6, ("dicom/*",)),
    Command("phantom", ("phantom", "--patients", "24", "--centers", "2", "--out", "@made"), 0.3, ()),
    Command("import", ("import", "rsna", "--source", "@rsna", "--out", "@imported"), 3, ("rsna/*", "rsna/*/*/*")),
    Command("init", ("init", "@bare", "--clinical", "@clinical.csv"), 4, ("bare/*", "clinical.csv")),
    Command("regions", ("regions", "@boxes.csv", "--out", "@boxless"), 3, ("boxes.csv", "boxless/*", "dicom/*")),
    Command("check", ("check", "@unsplit"), 2, ("unsplit/*", "dicom/*")),
    Command(
        "split",
        ("split", "@unsplit", "--external_center", "center_b", "--val_share", "0.4"),
        3,
        ("unsplit/*", "dicom/*"),
    ),
    Command(
        "crop",
        ("crop", "@cohort", "--store", "@crops", "--proof", "@proof", "--export", "@export", "--crop.size_px=64"),
        0.3,
    ),
    Command("train", ("train", "@cohort", "--out", "@trained", "--config", "@tiny.yaml"), 1.5),
    Command("pretrain", ("pretrain", "@cohort", "--out", "@pretrained", "--config", "@task.yaml"), 1.5),
    Command(
        "predict",
        ("predict", "--run", "@runs/one", "--cohort", "@cohort", "--split", "external_test", "--out", "@new.csv"),
        3,
        ("cohort/*.csv", "cohort/.crops/segments/*", *RUN),
    ),
    Command(
        "ensemble",
        ("predict", "--run", "@runs/one", "--run", "@runs/two", "--cohort", "@cohort", "--out", "@both.csv"),
        1,
        ("cohort/*.csv", "cohort/.crops/segments/*", *RUN),
    ),
    Command(
        "evaluate",
        ("evaluate", "@one.csv", "--run", "@runs/one", "--cohort", "@cohort", "--out", "@judged", "--resamples", "20"),
        0.4,
        ("one.csv", "one.json", "cohort/*.csv", *RUN),
    ),
    Command(
        "compare",
        ("compare", "@one.csv", "@two.csv", "--out", "@compared", "--resamples", "20"),
        1.5,
        ("one.*", "two.*"),
    ),
    Command(
        "explain",
        ("explain", "@cohort", "--run", "@runs/one", "--split", "val", "--out", "@explained", "--drawn", "1"),
        0.3,
        ("cohort/*.csv", *RUN),
    ),
    Command("scrub", ("scrub", "@runs/one", "--out", "@scrubbed"), 5, RUN),
    Command("runs", ("runs", "@runs/one", "--name", "best"), 4, RUN),
    Command(
        "radiomics extract",
        ("radiomics", "extract", "@cohort", "--out", "@measured.csv", "--workers", "1"),
        0.6,
    ),
    Command(
        "radiomics fit",
        (
            "radiomics",
            "fit",
            "@cohort",
            "--features",
            "@features.csv",
            "--out",
            "@signatures",
            "--workers",
            "1",
            "--fit.folds=3",
            "--fit.repeats=1",
            "--fit.inner_folds=2",
            "--fit.bootstrap_resamples=50",
        ),
        0.1,
        ("cohort/*.csv", "features.csv"),
    ),
    Command(
        "sweep write",
        ("sweep", "write", "@sweep.yaml", "--cohort", "@cohort", "--out", "@written", "--engine", "ray"),
        1,
    ),
    Command("sweep work", ("sweep", "work", "@planned/jobs/*.cells"), 0.2),
    Command("sweep run", ("sweep", "run", "@sweep.yaml", "--cohort", "@cohort", "--out", "@new", "--slots", "1"), 0.1),
    Command("sweep drop", ("sweep", "drop", "0.002", "--out", "@planned"), 2, ("planned/*.json",)),
    Command("sweep retry", ("sweep", "retry", "0.002", "--out", "@held"), 2, ("held/*.json",)),
    Command("sweep status", ("sweep", "status", "@swept"), 3, ("swept/*",)),
    Command(
        "sweep collect", ("sweep", "collect", "@swept", "--resamples", "20"), 1.5, ("swept/*.json", "cohort/*.csv")
    ),
    Command("sweep prune", ("sweep", "prune", "--out", "@swept", "--remove", "true"), 3, ("swept/*.json",)),
)
