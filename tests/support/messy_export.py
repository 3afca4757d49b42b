"""A hospital's own export as it really is: 100 patients with every trap that users met, and the truth beside it.

The pixels come from a phantom cohort; folders, headers and tables are those of an archive's export and of a study
nurse's spreadsheet. Nothing of the product writes them but the phantom's pixels.
"""

from __future__ import annotations

import datetime
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import openpyxl
import pandas as pd
import pydicom
from pydicom.dataset import Dataset, FileDataset
from pydicom.sequence import Sequence
from pydicom.uid import generate_uid

from tests.support.dicom_writer import code

FOR_PROCESSING = "1.2.840.10008.5.1.4.1.1.1.2.1"
TOMOSYNTHESIS = "1.2.840.10008.5.1.4.1.1.13.1.3"
SECONDARY_CAPTURE = "1.2.840.10008.5.1.4.1.1.7"
NAT_DAY = 21
"""NAT begins so many days after the exam that it is judged by."""
HOSPITALS = {"center_a": "Lyon", "center_b": "Porto", "center_c": "Graz"}
USED = "before_nat"
"""The word of `Written.what` for images that a model may see."""


@dataclass(frozen=True)
class Written:
    """One file of the export: where it lies, whose it is and what it truly is."""

    path: Path
    patient: str
    sop_instance_uid: str
    what: str


@dataclass(frozen=True)
class Export:
    """The folder of DICOM files, the nurse's spreadsheet, the reader's boxes, and the truth of every file."""

    dicom: Path
    clinic: Path
    boxes: Path
    files: tuple[Written, ...]

    def of(self, what: str) -> set[str]:
        """SOP Instance UIDs of one kind of file."""
        return {file.sop_instance_uid for file in self.files if file.what == what}


def write_messy_export(phantom: Path, out: Path) -> Export:
    """Write the export of a phantom cohort of at least 60 patients.

    Args:
        phantom: cohort folder that `write_phantom` made.
        out: new folder.
    """
    patients = pd.read_csv(phantom / "patients.csv", dtype=str, keep_default_na=False)
    images = pd.read_csv(phantom / "images.csv", dtype=str)
    regions = pd.read_csv(phantom / "regions.csv", dtype={"image_id": str})
    out.mkdir(parents=True)
    files: list[Written] = []
    boxes: list[dict[str, object]] = []
    for number, patient in enumerate(patients.to_dict("records")):
        views = images[images["patient_id"] == patient["patient_id"]].to_dict("records")
        exam = datetime.date(2019, 1, 7) + datetime.timedelta(days=11 * number)
        for position, view in enumerate(views):
            read = _reader(phantom / view["path"], number, position)
            for written, dataset, what in _files_of(read, number, position, exam, view):
                path = out / "dicom" / _folder(HOSPITALS[patient["center"]], number, dataset) / written
                path.parent.mkdir(parents=True, exist_ok=True)
                dataset.save_as(path, enforce_file_format=True)
                files.append(Written(path, mrn(number), str(dataset.SOPInstanceUID), what))
                if what == USED:
                    boxes += _boxes(dataset, regions[regions["image_id"] == view["image_id"]])
    _copy_one_byte_for_byte(files)
    (out / "dicom" / "README.txt").write_text("exported by the archive on request 4711\n")
    (out / "dicom" / "Thumbs.db").write_bytes(b"\xd0\xcf\x11\xe0" + bytes(200))
    return Export(out / "dicom", _write_clinic(out, patients), _write_boxes(out, boxes), tuple(files))


def mrn(number: int) -> str:
    """The hospital's number of a patient."""
    return f"00{48210 + 7 * number}"


def exam_date(number: int) -> datetime.date:
    """Day of the exam before NAT."""
    return datetime.date(2019, 1, 7) + datetime.timedelta(days=11 * number)


def _reader(path: Path, number: int, position: int) -> Callable[[str], FileDataset]:
    """A function that reads the phantom's file anew, with the identity of one exposure of one patient."""

    def read(exposure: str) -> FileDataset:
        dataset = pydicom.dcmread(path)
        dataset.PatientID, dataset.IssuerOfPatientID = mrn(number), "HOSP"
        dataset.PatientName, dataset.PatientBirthDate = f"Doe^J{number}", f"19{40 + number % 45}0302"
        _identify(dataset, exposure, f"{number}/{position}")
        return dataset

    return read


def _identify(dataset: FileDataset, exposure: str, unit: str) -> None:
    dataset.SOPInstanceUID = generate_uid(entropy_srcs=["messy", exposure, unit])
    dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
    dataset.SeriesInstanceUID = generate_uid(entropy_srcs=["series", exposure, unit])


def _dated(dataset: FileDataset, number: int, visit: str, day: datetime.date) -> FileDataset:
    dataset.StudyInstanceUID = generate_uid(entropy_srcs=["study", str(number), visit])
    dataset.AccessionNumber = f"A{number:04d}{visit[:2].upper()}"
    dataset.StudyDate = dataset.SeriesDate = dataset.AcquisitionDate = dataset.ContentDate = day.strftime("%Y%m%d")
    return dataset


def _kind(dataset: FileDataset, sop_class: str) -> None:
    dataset.SOPClassUID = dataset.file_meta.MediaStorageSOPClassUID = sop_class


def _files_of(
    read: Callable[[str], FileDataset], number: int, position: int, day: datetime.date, view: dict[str, str]
) -> Iterator[tuple[str, FileDataset, str]]:
    """All files that the archive holds of one view of one patient: (file name, dataset, what it truly is)."""
    name = f"IM{position + 1:05d}"
    image = _dated(read("before"), number, "before", day)
    if number % 17 == 3:  # laterality and view in the older tags alone
        image.Laterality = image.ImageLaterality
        del image.ImageLaterality
    if number % 23 == 5:
        image.BreastImplantPresent = "YES"
    yield name, image, USED
    if number % 5 == 0:
        raw = _dated(read("raw"), number, "before", day)
        _kind(raw, FOR_PROCESSING)
        raw.PresentationIntentType = "FOR PROCESSING"
        yield f"{name}_raw", raw, "for_processing"
    if number % 6 == 1:
        after = _changed(_dated(read("after"), number, "after", day + datetime.timedelta(days=196)), number + position)
        yield name, after, "after_nat"
    if number % 9 == 2:
        prior = _changed(_dated(read("prior"), number, "prior", day - datetime.timedelta(days=735)), number - position)
        yield name, prior, "prior"
    if number % 13 == 4 and position == 0:
        yield f"{name}_spot", _spot(_dated(read("spot"), number, "before", day)), "spot"
    if number % 11 == 6:
        synthetic = _dated(read("synthetic"), number, "before", day)
        synthetic.ImageType = ["DERIVED", "PRIMARY", "TOMOSYNTHESIS", "GENERATED_2D"]
        synthetic.SeriesDescription = f"{view['laterality']} {view['view']} C-View"
        yield f"{name}_cview", _changed(synthetic, number), "synthetic"
    if number % 19 == 7 and position == 0:
        volume = _dated(read("tomo"), number, "before", day)
        _kind(volume, TOMOSYNTHESIS)
        yield f"{name}_tomo", volume, "tomosynthesis"
    if number % 29 == 8 and position == 0:
        capture = _dated(read("capture"), number, "before", day)
        _kind(capture, SECONDARY_CAPTURE)
        capture.ImageType, capture.ConversionType = ["DERIVED", "SECONDARY"], "WSD"
        capture.SeriesDescription = "AI result heat map"
        yield f"{name}_sc", capture, "secondary_capture"


def _spot(dataset: FileDataset) -> FileDataset:
    """A spot compression with magnification, cut to the paddle."""
    pixels = _decoded(dataset)
    rows, columns = pixels.shape
    cut = np.ascontiguousarray(pixels[rows // 3 : rows // 3 + 180, columns // 4 : columns // 4 + 180])
    dataset.Rows, dataset.Columns, dataset.PixelData = *cut.shape, cut.tobytes()
    dataset.ViewModifierCodeSequence = Sequence([])
    modifiers = ("Spot Compression", "Magnification")
    sequence: Dataset = dataset.ViewCodeSequence[0]
    sequence.ViewModifierCodeSequence = Sequence([code("R-102D6", words) for words in modifiers])
    del dataset.ViewModifierCodeSequence
    return dataset


def _changed(dataset: FileDataset, seed: int) -> FileDataset:
    """Another exposure of the same breast: every value a little different."""
    pixels = _decoded(dataset)
    noise = np.random.default_rng(seed % 1000).integers(-3, 4, pixels.shape)
    top = 2 ** int(dataset.BitsStored) - 1
    dataset.PixelData = np.clip(pixels.astype(np.int64) + noise, 0, top).astype(np.uint16).tobytes()
    return dataset


def _decoded(dataset: FileDataset) -> np.ndarray:
    if dataset.file_meta.TransferSyntaxUID.is_compressed:
        instance = dataset.SOPInstanceUID
        dataset.decompress(generate_instance_uid=False)
        assert dataset.SOPInstanceUID == instance
    return dataset.pixel_array


def _folder(hospital: str, number: int, dataset: FileDataset) -> Path:
    """The archive's tree: hospital, box, patient, study, series; no name of it is a word to rely on."""
    return Path(hospital) / f"vol{number % 3}" / f"PAT{number:05d}" / f"ST{dataset.StudyDate[2:]}" / "SE0001"


def _copy_one_byte_for_byte(files: list[Written]) -> None:
    for file in [file for file in files if file.what == USED][::41]:
        copy = file.path.with_name(file.path.name + "_1")
        shutil.copy(file.path, copy)
        files.append(Written(copy, file.patient, file.sop_instance_uid, "copy"))


def _boxes(dataset: FileDataset, regions: pd.DataFrame) -> Iterator[dict[str, object]]:
    for region in regions.to_dict("records"):
        yield {
            "SOPInstanceUID": str(dataset.SOPInstanceUID),
            "Finding": {"primary": "Mass", "axilla": "Axilla"}.get(str(region["region"]), str(region["region"])),
            "x": round(float(region["x_min"]), 2),
            "y": round(float(region["y_min"]), 2),
            "width": round(float(region["x_max"]) - float(region["x_min"]), 2),
            "height": round(float(region["y_max"]) - float(region["y_min"]), 2),
        }


def _write_boxes(out: Path, boxes: list[dict[str, object]]) -> Path:
    """The reader's boxes as a German Excel saves them: semicolons, decimal commas, a byte-order mark."""
    path = out / "boxes.csv"
    pd.DataFrame(boxes).to_csv(path, index=False, sep=";", decimal=",", encoding="utf-8-sig")
    return path


def _write_clinic(out: Path, patients: pd.DataFrame) -> Path:
    """The nurse's spreadsheet: her headers, her codes, dates, an empty end, a patient too many, one too few."""
    book = openpyxl.Workbook()
    sheet = book.active
    sheet.title = "Tabelle1"
    head = [" MRN", "Hospital", "Side", "Age (years)", "ER status ", "HER2", "cT", "Ki67 %", "Start of NAT"]
    sheet.append([*head, "Nodes after NAT", "pCR breast", None, None])
    for number, row in enumerate(patients.to_dict("records")):
        if number == 50:  # her row was forgotten
            continue
        hospital = HOSPITALS[row["center"]]
        start = exam_date(number) + datetime.timedelta(days=NAT_DAY)
        sheet.append(
            [
                mrn(number) + (" " if number % 10 == 0 else ""),
                {0: hospital.upper(), 1: hospital + " "}.get(number % 8, hospital),
                {"L": "left", "R": "right"}[row["side"]],
                row["age"].replace(".", ",") + (",5" if row["age"] and number % 2 else ""),
                {"positive": "pos", "negative": "neg", "": "unknown"}[row["er"]],
                row["her2"] or "NA",
                row["ct"].removeprefix("c") or None,
                999 if number % 12 == 0 else (number * 37) % 90 + 5,
                start,
                {"1": "yes", "0": "no"}.get(row["aln_status"], "n/a"),
                {"1": 0, "0": 1}.get(row["aln_status"]),
            ]
        )
    sheet.append(["0099999", "Lyon", "left", "61", "pos", "negative", "T2", 20, datetime.date(2020, 1, 1), "no", 1])
    for _ in range(5):
        sheet.append([" "])
    path = out / "clinic.xlsx"
    book.save(path)
    return path
