"""Small DICOM mammograms for tests, written by pydicom."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.sequence import Sequence
from pydicom.uid import ExplicitVRLittleEndian, generate_uid

NAME, PATIENT, BORN = "Mustermann^Erika", "HOSP-4711", "19610203"


def code(value: str, meaning: str, modifiers: tuple[str, ...] = ()) -> Dataset:
    item = Dataset()
    item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = value, "SRT", meaning
    if modifiers:
        item.ViewModifierCodeSequence = Sequence([code("R-1", words) for words in modifiers])
    return item


def mammogram(shape: tuple[int, int] = (20, 16), **tags) -> Dataset:
    """A sound mammogram; a tag given as None is left out."""
    dataset = Dataset()
    uid = generate_uid(entropy_srcs=[str(sorted(tags.items(), key=str))])
    values = {
        "SOPClassUID": "1.2.840.10008.5.1.4.1.1.1.2", "SOPInstanceUID": uid, "StudyInstanceUID": "1.2.3",
        "ImageType": ["ORIGINAL", "PRIMARY"], "Modality": "MG", "PresentationIntentType": "FOR PRESENTATION",
        "Manufacturer": "Maker", "ManufacturerModelName": "Model", "PatientName": NAME, "PatientID": PATIENT,
        "PatientBirthDate": BORN, "BodyPartExamined": "BREAST", "ImagerPixelSpacing": [0.07, 0.07],
        "ViewPosition": "CC", "ImageLaterality": "L", "SamplesPerPixel": 1, "PhotometricInterpretation": "MONOCHROME2",
        "Rows": shape[0], "Columns": shape[1], "BitsAllocated": 16, "BitsStored": 12, "HighBit": 11,
        "PixelRepresentation": 0, "PixelData": np.zeros(shape, "<u2").tobytes(), **tags,
    }  # fmt: skip
    for keyword, value in values.items():
        if value is not None:
            setattr(dataset, keyword, value)
    return dataset


def save(dataset: Dataset, path: Path, syntax: str = ExplicitVRLittleEndian) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = syntax
    dataset.save_as(path, enforce_file_format=True)
    return path
