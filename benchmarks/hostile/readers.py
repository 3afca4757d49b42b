"""Readers of the files that users bring, one function each, in the process that the command reads them in."""

from __future__ import annotations

import shutil
from itertools import islice
from pathlib import Path

from benchmarks.hostile.targets import Died, Fault
from mammo_aln.errors import InputError

CELLS_OF_A_SWEEP = 3
"""Of each sweep's file so many cells' settings are read: all of them are read by the same code."""
GROUPS_A_STORE = 300
LIMIT_OF_AN_IMAGE_S = 4.0
"""Of processor time, in place of the 20 s that a user's large image has."""


def header(path: Path) -> object:
    """Read a header as `index` does."""
    from mammo_aln.cohort.listing.survey import survey
    from mammo_aln.dicom.fast_header import Excluded

    result = survey(path)
    if isinstance(result, Excluded):
        raise InputError(result.reason)
    return result


def archive(path: Path) -> object:
    """Read the headers of a ZIP's members as `index` does."""
    from mammo_aln.cohort.listing.survey import survey
    from mammo_aln.dicom.archive import ArchiveError, members

    try:
        return [survey(Path(f"{path}!/{member.name}")) for member in members(path) if not member.refusal]
    except ArchiveError as error:
        raise InputError(str(error)) from error


_STORES: dict[Path, int] = {}


def pixels(path: Path) -> object:
    """Make a crop of an image as `crop` does: digested, decoded in a caged process, cut and stored there."""
    from mammo_aln.crops.keys import CropJob
    from mammo_aln.crops.parallel import make_crops
    from mammo_aln.crops.requests import CropRequest, ImagePlan
    from mammo_aln.crops.store.store import CropStore
    from mammo_aln.machine.deaths import REASONS
    from mammo_aln.settings import CropConfig, PixelConfig

    store = path.parent / "store"
    _STORES[store] = _STORES.get(store, 0) + 1
    if _STORES[store] % GROUPS_A_STORE == 0:
        shutil.rmtree(store)
    job = CropJob(
        PixelConfig(decode_timeout_s=LIMIT_OF_AN_IMAGE_S), CropConfig(size_px=64, strategy="whole_breast"), store
    )
    asked = CropRequest("p1", "p1", "i1", "primary", 1, "whole_breast", None, 50.0)
    image = ImagePlan("i1", "p1", "a", path, "L", "CC", None, None, None, (asked,))
    reason = make_crops([(image,)], job, CropStore(store), 1).get("i1", "")
    if reason.startswith(REASONS):
        raise Died(reason)
    if reason.startswith("cannot be cropped: "):
        raise Fault(reason)
    if reason:
        raise InputError(reason)
    return image


def region_file(path: Path) -> object:
    """Read an annotation file as `regions` does: DICOM SR, SEG, RTSTRUCT, GSPS, masks, and each tool's format."""
    from mammo_aln.cohort.annotations.sources import read_sources

    return read_sources([path], "auto", {})


def table_of_cohort(path: Path) -> object:
    """Read a cohort one of whose tables this is, as each verb does; its name says which."""
    from mammo_aln.cohort.tables import read_cohort

    folder, name = path.parent / "cohort", f"{_kind(path)}{path.suffix}"
    csv = folder / f"{_kind(path)}.csv"
    csv.unlink(missing_ok=True)
    shutil.copyfile(path, folder / name)
    try:
        return read_cohort(folder, need=("patients", "images", "regions"), tell=False)
    finally:
        (folder / name).unlink()
        shutil.copyfile(folder / f"{csv.name}.sound", csv)


def _kind(path: Path) -> str:
    known = ("images", "regions", "volumes", "cohort")
    return next((name for name in known if path.stem.endswith(name)), "patients")


def declaration(path: Path) -> object:
    """Read a cohort whose cohort.yaml this is."""
    from mammo_aln.cohort.tables import read_cohort

    folder = path.parent / "cohort"
    shutil.copyfile(path, folder / "cohort.yaml")
    try:
        return read_cohort(folder, need=("patients",), tell=False)
    finally:
        shutil.copyfile(folder / "cohort.yaml.sound", folder / "cohort.yaml")


def sweep_file(path: Path) -> object:
    """Read a sweep's file, its points and the settings of some."""
    from mammo_aln.settings import Settings
    from mammo_aln.settings.parse import settings_from
    from mammo_aln.sweeps.planning.definition import points, read_definition

    definition = read_definition(path)
    cells = islice(points(definition), CELLS_OF_A_SWEEP)
    return [settings_from(Settings, point.settings, path.name) for point in cells]


def config(path: Path) -> object:
    """Read the words of a `train` with this --config."""
    from mammo_aln.settings.parse import parse
    from mammo_aln.verbs import train

    return parse(train, "mammo-aln train", "cohort", ["c", "--out", "o", "--config", str(path)])


def predictions(path: Path) -> object:
    """Read predictions and the facts beside them, as `evaluate` does."""
    from mammo_aln.evaluation.predictions import read_predictions

    if path.suffix != ".json":
        return read_predictions([path])
    table = path.with_suffix(".csv")
    shutil.copyfile(path.parent / "run" / "predictions.csv", table)
    try:
        return read_predictions([table])
    finally:
        table.unlink()


def features(path: Path) -> object:
    """Read a table of features as `radiomics fit` does."""
    import pandas as pd

    from mammo_aln.radiomics.signatures.feature_table import read_features

    patients = pd.DataFrame({"patient_id": [f"p{n}" for n in range(6)], "center": "a", "aln_status": [0, 1] * 3})
    return read_features(path, patients.assign(side="", eligible=True, unit_id=patients["patient_id"]))


def volume(path: Path) -> object:
    """Read a volume that is its own mask as `radiomics extract` does, in a caged process."""
    from mammo_aln.machine.cage import caged
    from mammo_aln.machine.deaths import Death, reason_of
    from mammo_aln.settings import PixelConfig

    ((_, result),) = caged(in_bounds, [path])
    if isinstance(result, Death):
        raise Died(reason_of(result, PixelConfig()))
    if isinstance(result, str):
        raise InputError(result)
    return result


def in_bounds(path: Path) -> object:
    """Read a volume under the bound of time that `radiomics extract` sets; a refusal comes back as text, as it does."""
    from mammo_aln.machine.deaths import bounded_time
    from mammo_aln.radiomics.extraction.segmentation import read_segmentation
    from mammo_aln.radiomics.extraction.volumes import read_volume

    try:
        with bounded_time(LIMIT_OF_A_VOLUME_S):
            return read_segmentation(path)[1] if path.suffix == ".dcm" else read_volume(path, path).spacing_mm
    except InputError as error:
        return str(error)


LIMIT_OF_A_VOLUME_S = 5.0


def checkpoint(path: Path) -> object:
    """Read a run's facts and weights from its checkpoint, as `predict` does."""
    from mammo_aln.model.origin import stored_checkpoint
    from mammo_aln.training.frozen_facts import FrozenFacts

    stored_checkpoint(path, "train it again")
    return FrozenFacts.of_checkpoint(path)


def weights(path: Path) -> object:
    """Read weights as `--model.pretrained` does."""
    from mammo_aln.model.weights import read_weights, source_of

    return source_of(str(path)), len(read_weights(path))


def kept_tables(path: Path) -> object:
    """Read tables of our own binary form; a damaged one is none."""
    from mammo_aln.cohort.packed import read_packed

    return read_packed(path)


def kept_crops(path: Path) -> object:
    """Open a crop store one of whose segments this is, and read what it still holds."""
    from mammo_aln.crops.store.store import CropStore

    store = path.parent / "kept_store"
    shutil.rmtree(store, ignore_errors=True)
    (store / "segments").mkdir(parents=True)
    shutil.copyfile(path, store / "segments" / path.name.split("_", 1)[1])
    kept = CropStore(store)
    for segment in (store / "segments").glob("*.jsonl"):
        for key in kept.crops_in(segment.stem):
            kept.crop(key)
    return len(kept)


def answer(path: Path) -> object:
    """Take the file out of a DICOMweb server's answer, as `fetch` does."""
    from mammo_aln.dicom.web.multipart import AnswerCutOff, UnexpectedAnswer, dicom_file

    content = path.read_bytes()
    blocks = [content[at : at + 700] for at in range(0, len(content), 700)]
    try:
        return sum(map(len, dicom_file('multipart/related; type="application/dicom"; boundary=b0', blocks)))
    except (AnswerCutOff, UnexpectedAnswer) as error:
        raise InputError(str(error)) from error
