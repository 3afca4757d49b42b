"""From a DICOM folder to a checked cohort and its crops. A verb's flags are its function's parameters."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from mammo_aln.settings import ClusterConfig, CropConfig, PixelConfig
from mammo_aln.settings.limits import JOBS, PROCESSES, SEED, SHARE, within

SPACING_MM = within(0.001, 1000, "mm")


def fetch(
    url: str,
    out: Path,
    study: list[str] | None = None,
    accession: list[str] | None = None,
    patient: list[str] | None = None,
    list: Path | None = None,
    modality: list[str] | None = None,
    tries: Annotated[int, within(1, 1000)] = 5,
) -> Path:
    """Fetch images of a PACS over DICOMweb into a folder that index reads; the same command goes on where it stopped.

    Args:
        url: DICOMweb service, such as https://HOST/dicom-web; the log-in comes from the environment or from ~/.netrc.
        out: folder for the files, named so that they identify nobody.
        study: StudyInstanceUID of a study; may be given several times.
        accession: accession number of a study; may be given several times.
        patient: PatientID, all of whose studies are meant; may be given several times.
        list: CSV with columns study, accession or patient, or a bare column of study UIDs.
        modality: series of these modalities are fetched, by default MG.
        tries: how often a request is made before a passing fault (503, lost connection) counts.
    """
    from mammo_aln.cohort.fetch.fetch import fetch_studies

    return fetch_studies(
        url,
        out,
        studies=study or (),
        accessions=accession or (),
        patients=patient or (),
        listed=list,
        modalities=modality or ("MG",),
        tries=tries,
    )


def index(
    dicom_dir: Path, out: Path, key: Path | None = None, workers: Annotated[int | None, PROCESSES] = None
) -> Path:
    """List a DICOM folder's mammograms in OUT/images.csv; other files go to OUT/exclusions.csv with the reason.

    Args:
        dicom_dir: folder that is searched with all its subfolders.
        out: cohort folder; tables that stand there already are kept.
        key: CSV file outside OUT that links patient_id and image_id to PatientID, accession, date and instance.
        workers: processes; by default one per core.
    """
    from mammo_aln.cohort.index import index_folder

    return index_folder(dicom_dir, out, key=key, workers=workers)


def init(cohort: Path, clinical: Path | None = None, key: Path | None = None) -> Path:
    """Write the tables that an indexed cohort still needs: cohort.yaml, patients.csv and regions.csv.

    Args:
        cohort: cohort folder with images.csv; files that are filled in already are kept.
        clinical: the patients' table as the hospital keeps it, .xlsx or CSV; each guess at a column is told.
        key: the file that `index --key` wrote; it finds a table's rows by the hospital's numbers.
    """
    from mammo_aln.cohort.templates.init import init_cohort

    return init_cohort(cohort, clinical=clinical, key=key)


def import_dataset(name: str, source: Path, out: Path, spacing_mm: Annotated[float | None, SPACING_MM] = None) -> Path:
    """Make a cohort folder of a public data set as its owner publishes it; licence, terms and citation go with it.

    Args:
        name: vindr, cbis-ddsm, inbreast, cmmd, embed, rsna, csaw-cc, nlbs, mammo-mx (mammography), duke, mama-mia,
            ispy1, ispy2 or ispy, both trials as one cohort (MRI).
        source: folder that holds its tables and files as published; they stay there.
        out: new cohort folder.
        spacing_mm: millimetres of breast per pixel, for a set whose files state none (scanned film).
    """
    from mammo_aln.cohort.datasets.catalogue import import_tables

    return import_tables(name, source, out, spacing_mm=spacing_mm)


def import_regions(
    files: list[Path],
    out: Path,
    format: str = "auto",
    columns: str = "",
    regions: str = "",
    picture_size: str = "",
    stretched: bool = False,
    flipped: Literal["none", "all", "left", "right"] = "none",
    spacing_mm: Annotated[float | None, SPACING_MM] = None,
    replace: bool = False,
) -> Path:
    """Write the boxes of annotation files to OUT/regions.csv, all or none; rows that stand there are kept.

    Args:
        files: annotation files, folders of them, or patterns.
        out: cohort folder with its images.csv.
        format: the files' format where it is not to be recognised: csv, coco, yolo, labelme, via, cvat and others.
        columns: columns of a table with other names, as ROLE=COLUMN,..., e.g. x_min=left,y_min=top,image=File.
        regions: regions that labels become, as LABEL=REGION,..., e.g. mass=primary,node=axilla; *=primary is all
            others, an empty region drops a label.
        picture_size: size of the annotated pictures where no file states it: ROWSxCOLUMNS, pixels of the longer side
            (1024), or a share of the images' sides (0.5).
        stretched: annotated pictures with another ratio of sides were stretched, neither cropped nor padded.
        flipped: images whose annotated picture was mirrored left to right.
        spacing_mm: spacing that the tool took for millimetres, where the header does not say.
        replace: remove the rows of the images that these files name first.
    """
    from mammo_aln.cohort.annotations.regions import import_regions as import_files

    return import_files(
        files,
        out,
        format=format,
        columns=columns,
        regions=regions,
        picture_size=picture_size,
        stretched=stretched,
        flipped=flipped,
        spacing_mm=spacing_mm,
        replace=replace,
    )


def check(cohort: Path, run: list[Path] | None = None) -> int:
    """Find every fault of a cohort; exit code 1 if there is one.

    Args:
        cohort: cohort folder.
        run: run directory of a completed training, or of a `radiomics fit` (FIT/NAME): also tell everything that
            `predict --run` needs of this cohort and does not find (columns, units, levels, ranges, regions, views).
    """
    from mammo_aln.cohort.check import check_cohort

    needs: list[str] = []
    if run:
        from mammo_aln.radiomics.signatures.portable.files import signature_file

        signatures = {each: file for each in run if (file := signature_file(each)) is not None}
        for file in signatures.values():
            from mammo_aln.radiomics.scoring.check import check_against_signature

            needs += check_against_signature(file, cohort)
        if runs := [each for each in run if each not in signatures]:
            from mammo_aln.inference.check import check_against_runs

            needs += check_against_runs(runs, cohort)  # first: it decodes nothing
    return 1 if check_cohort(cohort) or needs else 0


def split(
    cohort: Path,
    external_center: str | None = None,
    val_share: Annotated[float, SHARE] = 0.2,
    internal_test_share: Annotated[float, SHARE] = 0.0,
    seed: Annotated[int, SEED] = 0,
    overwrite: bool = False,
) -> Path:
    """Write the column split of patients.csv: by patient, stratified by status and centre.

    Args:
        cohort: cohort folder.
        external_center: centre that becomes external_test.
        val_share: share of the remaining patients for validation.
        internal_test_share: share of the remaining patients for the internal test.
        seed: draws the split.
        overwrite: replace a split that stands there.
    """
    from mammo_aln.cohort.split import split_cohort

    return split_cohort(
        cohort,
        external_center=external_center,
        val_share=val_share,
        internal_test_share=internal_test_share,
        seed=seed,
        overwrite=overwrite,
    )


def crop_images(
    cohort: Path,
    store: Path | None = None,
    proof: Path | None = None,
    export: Path | None = None,
    audit: Annotated[float, SHARE] = 0.0,
    shard: str | None = None,
    workers: Annotated[int | None, PROCESSES] = None,
    slurm: Annotated[int | None, JOBS] = None,
    cluster: ClusterConfig = ClusterConfig(),
    crop: CropConfig = CropConfig(),
    pixels: PixelConfig = PixelConfig(),
) -> Path:
    """Build every crop that is missing in the store; show them (--proof) and hand them out (--export).

    Args:
        cohort: cohort folder.
        store: crop store; by default .crops in the cohort folder.
        proof: folder for contact sheets: view with boxes and scale bar, and the crops.
        export: folder for one NPY and one JSON per crop, read back from the store.
        audit: share of the crops that is derived from the files once more and compared, e.g. 0.01.
        shard: K/N does part K of N, for N machines on one store.
        workers: processes; by default one per core.
        slurm: build in so many SLURM jobs, each one part of the images, and wait for them.
        cluster: what such a job asks for.
        crop: crop settings.
        pixels: how DICOM values become display values.
    """
    from mammo_aln.crops.crop import crop_cohort, parse_shard

    return crop_cohort(
        cohort,
        pixels,
        crop,
        store=store,
        proof=proof,
        export=export,
        audit=audit,
        shard=parse_shard(shard) if shard else None,
        workers=workers,
        slurm=slurm,
        cluster=cluster,
    )
