"""MAMA-MIA: DCE-MRI of Duke, I-SPY 1, I-SPY 2 and NACT with experts' tumour masks; joined to Duke's nodal stage."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pandas as pd

from mammo_aln.cohort.datasets import duke
from mammo_aln.cohort.datasets.folder import CohortTables, PublicSet
from mammo_aln.cohort.datasets.published import coded, identifiers, needed_file, numbers, published_file, read_published
from mammo_aln.cohort.lineage import Source
from mammo_aln.errors import InputError
from mammo_aln.files import nameable

TABLE, SHEET = "clinical_and_imaging_info.xlsx", "dataset_info"
FACTS = PublicSet(
    source=Source(
        "MAMA-MIA",
        "CC BY-NC 4.0",
        ("attribution", "non-commercial"),
        "Garrucho et al. 2025, Scientific Data 12:453, doi:10.1038/s41597-025-04707-4; Synapse syn60868042",
    ),
    tables=f"{TABLE} (sheet {SHEET}); images/PATIENT/PATIENT_000PHASE.nii.gz; segmentations/expert/PATIENT.nii.gz; "
    f"and Duke's {duke.TABLE} for the nodal stage",
    boxes="experts' tumour masks (volumes.csv)",
    spacing="in the NIfTI files",
    seen="no",
)
COLUMNS = ("patient_id", "dataset", "pcr", "hr", "er", "pr", "her2", "age")
CENTERS = {name: name for name in ("DUKE", "ISPY1", "ISPY2", "NACT")}
MISSING = ("NA", "NaN", "nan")
YES_NO = {"0": 0.0, "1": 1.0}
SIGN = {"0": "negative", "1": "positive"}
FIRST_PHASE = "0001"
JOINED = ("er", "pr", "her2")
SAME_PATIENT = 0.95
"""Share of equal receptors from which `DUKE_nnn` is believed to be Duke's `Breast_MRI_nnn`."""

SAME_WOMEN = (
    "women of Duke, I-SPY 1 and I-SPY 2 stand in the sets duke, ispy1 and ispy2 too, under other names: do not test on "
    "one what learnt from the other"
)

CLINICAL: dict[str, dict[str, object]] = {
    "age": {"kind": "continuous", "unit": "years"},
    **{name: {"kind": "categorical", "levels": list(SIGN.values())} for name in ("hr", *JOINED)},
}


def read_mama_mia(source: Path) -> CohortTables:
    """Read the sheet `dataset_info`, the first phase after contrast with its mask, and Duke's table where it is there.

    Without Duke's table the label is `residual_disease` (no pathological complete response of breast and nodes). With
    it the label is `aln_status`: `DUKE_nnn` takes the N stage after NAT of `Breast_MRI_nnn`, others stay unknown. That
    these two numbers mean one woman is inferred; the join is refused where her receptors differ too often.

    Raises:
        InputError: not the set's table, a code that the set does not have, or a join that does not hold.
    """
    path = needed_file(source, TABLE)
    table = read_published(path, COLUMNS, sheet=SHEET)
    complete = coded(table, "pcr", YES_NO, path, missing=MISSING).astype(float)
    patients = pd.DataFrame(
        {
            "patient_id": identifiers(table, "patient_id", path),
            "center": coded(table, "dataset", CENTERS, path, needed=True),
            "residual_disease": (1 - complete).astype("Int64"),
            "age": numbers(table, "age", path, missing=MISSING),
            **{name: coded(table, name, SIGN, path, missing=MISSING) for name in ("hr", *JOINED)},
        }
    )
    skipped: Counter[str] = Counter()
    volumes = _volumes(source, list(patients["patient_id"]), skipped)
    duke_path = published_file(source, duke.TABLE, "*Clinical*Other*Features*.xlsx", optional=True)
    if duke_path is None:
        return CohortTables(
            label="residual_disease",
            meaning="1 = residual disease in breast or nodes, 0 = pathological complete response",
            patients=patients,
            volumes=volumes,
            clinical=CLINICAL,
            skipped=+skipped,
            notes=(
                f"with Duke's {duke.TABLE} below the folder, DUKE_nnn would get the nodal stage after NAT",
                SAME_WOMEN,
            ),
        )
    patients, shared, equal = _with_nodal_stage(patients, duke.duke_patients(duke_path), duke_path)
    return CohortTables(
        label="aln_status",
        meaning=f"{duke.LABEL_MEANING} (Duke's patients alone)",
        patients=patients,
        volumes=volumes,
        clinical=CLINICAL,
        outcomes={"residual_disease": "post_surgery"},
        skipped=+skipped,
        notes=(
            f"{shared} patients DUKE_nnn are taken as Duke's Breast_MRI_nnn: {equal:.1%} of their receptors are equal",
            SAME_WOMEN,
        ),
        sources=(duke.SOURCE,),
    )


def _with_nodal_stage(patients: pd.DataFrame, stages: pd.DataFrame, path: Path) -> tuple[pd.DataFrame, int, float]:
    number = patients["patient_id"].str.extract(r"^DUKE_(\d+)$", expand=False)
    key = "Breast_MRI_" + number.str.zfill(3)
    joined = patients.assign(key=key).merge(
        stages.rename(columns={"patient_id": "key"}),
        on="key",
        how="left",
        suffixes=("", "_duke"),
        validate="many_to_one",
    )
    both = [
        (joined[name], joined[f"{name}_duke"].map(SIGN), joined[name].notna() & joined[f"{name}_duke"].notna())
        for name in JOINED
    ]
    compared = sum(int(known.sum()) for *_, known in both)
    equal = sum(int((ours[known] == theirs[known]).sum()) for ours, theirs, known in both)
    share = equal / compared if compared else 0.0
    if share < SAME_PATIENT:
        raise InputError(
            f"{path}: {equal} of {compared} receptors of DUKE_nnn equal those of Breast_MRI_nnn: these are not the "
            f"same patients; expected at least {SAME_PATIENT:.0%} (without Duke's table in the folder there is no join)"
        )
    staged = joined["eligible"].notna()
    joined["exclusion_reason"] = joined["exclusion_reason"].where(staged, "nodal stage after NAT not in this set")
    joined["eligible"] = joined["eligible"].fillna(0).astype(int)
    columns = [*patients.columns[:2], "aln_status", "eligible", "exclusion_reason", *patients.columns[2:]]
    return joined[columns], int(staged.sum()), share


def _volumes(source: Path, patients: list[str], skipped: Counter[str]) -> pd.DataFrame | None:
    rows = []
    for patient in patients:
        # file names are the patient's number in capitals or in small letters
        names = (patient, patient.lower())
        images = [source / "images" / patient / f"{name}_{FIRST_PHASE}.nii.gz" for name in names]
        masks = [source / "segmentations" / "expert" / f"{name}.nii.gz" for name in names]
        image, mask = (
            next((path for path in paths if nameable(str(path)) and path.is_file()), None) for paths in (images, masks)
        )
        if image is None or mask is None:
            skipped["patients without the file of " + ("their mask" if image else "their image")] += 1
            continue
        paths = (str(path.relative_to(source)) for path in (image, mask))
        rows.append((patient, "pre", "dce1", *paths))
    return (
        pd.DataFrame(rows, columns=["patient_id", "timepoint", "sequence", "image_path", "mask_path"]) if rows else None
    )
