"""Writes small synthetic DICOM mammograms for the tests: any tags, any transfer syntax."""

from __future__ import annotations

from pathlib import Path

import imagecodecs
import numpy as np
from pydicom import uid
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.sequence import Sequence

MG_PRESENTATION = "1.2.840.10008.5.1.4.1.1.1.2"
NAME, PATIENT, BORN = "Mustermann^Erika", "HOSP-4711", "19610203"

ENCODERS = {
    uid.JPEGLSLossless: lambda a, bits: imagecodecs.jpegls_encode(a),
    uid.JPEGLosslessSV1: lambda a, bits: imagecodecs.jpeg8_encode(a, lossless=True, predictor=1, bitspersample=bits),
    uid.JPEGLossless: lambda a, bits: imagecodecs.jpeg8_encode(a, lossless=True, predictor=6, bitspersample=bits),
    uid.JPEGExtended12Bit: lambda a, bits: imagecodecs.jpeg8_encode(a, level=99, bitspersample=bits),
    uid.JPEG2000Lossless: lambda a, bits: imagecodecs.jpeg2k_encode(
        a, codecformat="j2k", reversible=True, bitspersample=bits
    ),
    uid.HTJ2KLossless: lambda a, bits: imagecodecs.htj2k_encode(a, reversible=True),
}


def item(**tags) -> Dataset:
    """A dataset of these tags: an item of a sequence, or a whole file's."""
    dataset = Dataset()
    for keyword, value in tags.items():
        sequence = isinstance(value, list) and bool(value) and isinstance(value[0], Dataset)
        setattr(dataset, keyword, Sequence(value) if sequence else value)
    return dataset


def lut_item(entries, first: int, bits: int, count: int | None = None) -> Dataset:
    lut = Dataset()
    lut.add_new(0x00283002, "US" if first >= 0 else "SS", [len(entries) if count is None else count, first, bits])
    lut.add_new(0x00283006, "US", list(entries))
    return lut


def code(value: str, meaning: str, modifiers: tuple[str, ...] = ()) -> Dataset:
    """A coded view with modifiers in words."""
    view = item(CodeValue=value, CodingSchemeDesignator="SRT", CodeMeaning=meaning)
    if modifiers:
        view.ViewModifierCodeSequence = Sequence([code("R-1", words) for words in modifiers])
    return view


def image(pixels: np.ndarray, **tags) -> Dataset:
    """A mammogram of `pixels` (rows, columns) with the tags of its pixels alone; a tag that is None is left out."""
    bits = 8 * pixels.dtype.itemsize
    data = pixels.astype(pixels.dtype.newbyteorder("<")).tobytes()
    values = {
        "SOPClassUID": MG_PRESENTATION,
        "SOPInstanceUID": "1.2.3",
        "Modality": "MG",
        "PresentationIntentType": "FOR PRESENTATION",
        "ImageLaterality": "L",
        "ViewPosition": "CC",
        "PatientOrientation": ["A", "R"],
        "Rows": pixels.shape[0],
        "Columns": pixels.shape[1],
        "SamplesPerPixel": 1,
        "PhotometricInterpretation": "MONOCHROME2",
        "BitsAllocated": bits,
        "BitsStored": bits,
        "PixelRepresentation": int(pixels.dtype.kind == "i"),
        "ImagerPixelSpacing": [0.1, 0.1],
        "PixelData": data + b"\0" * (len(data) % 2),
        **tags,
    }
    values.setdefault("HighBit", values["BitsStored"] - 1)
    dataset = item(**{keyword: value for keyword, value in values.items() if value is not None})
    if "PixelData" in dataset:
        dataset["PixelData"].VR = "OW" if bits == 16 else "OB"
    return dataset


def mammogram(shape: tuple[int, int] = (20, 16), **tags) -> Dataset:
    """A sound mammogram of air with the tags of its patient, study and device; a tag that is None is left out."""
    values = {
        "SOPInstanceUID": uid.generate_uid(entropy_srcs=[str(sorted(tags.items(), key=str))]),
        "StudyInstanceUID": "1.2.3",
        "ImageType": ["ORIGINAL", "PRIMARY"],
        "Manufacturer": "Maker",
        "ManufacturerModelName": "Model",
        "PatientName": NAME,
        "PatientID": PATIENT,
        "PatientBirthDate": BORN,
        "PatientOrientation": None,
        "BodyPartExamined": "BREAST",
        "ImagerPixelSpacing": [0.07, 0.07],
        "BitsStored": 12,
        **tags,
    }
    return image(np.zeros(shape, np.uint16), **values)


def save(dataset: Dataset, path: Path, syntax: str = uid.ExplicitVRLittleEndian) -> Path:
    """Write the dataset as it is, with its file meta information."""
    path.parent.mkdir(parents=True, exist_ok=True)
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = syntax
    dataset.save_as(path, enforce_file_format=True)
    return path


def write_dicom(
    path: Path, pixels: np.ndarray, *, syntax: str = uid.ExplicitVRLittleEndian, frames=None, **tags
) -> Path:
    """Write `image(pixels, **tags)` in any transfer syntax; `frames` gives the encoded frames instead."""
    dataset = image(pixels, **tags)
    if frames is None and syntax in ENCODERS:
        unsigned = pixels.view(f"u{pixels.dtype.itemsize}")
        mask = (1 << dataset.BitsStored) - 1
        frames = [ENCODERS[syntax](np.ascontiguousarray(unsigned & mask), dataset.BitsStored)]
    if frames is not None:
        dataset.PixelData = encapsulate(frames)
        dataset["PixelData"].VR = "OB"
        dataset["PixelData"].is_undefined_length = True
    elif syntax == uid.RLELossless:
        dataset.file_meta = FileMetaDataset()
        dataset.file_meta.TransferSyntaxUID = uid.ExplicitVRLittleEndian
        dataset.compress(uid.RLELossless)
    return save(dataset, path, syntax)


def breast(
    rows: int = 96, columns: int = 64, *, top: int = 3000, side: str = "left", dtype: str = "uint16"
) -> np.ndarray:
    """A half ellipse with a texture at one side, air 0."""
    y, x = np.mgrid[0:rows, 0:columns].astype(float)
    inside = ((y - rows / 2) / (0.42 * rows)) ** 2 + (x / (0.7 * columns)) ** 2 < 1
    texture = np.random.default_rng(5).uniform(0.5, 1.0, (rows, columns))
    picture = np.where(inside, top * texture, 0)
    return np.ascontiguousarray(picture if side == "left" else picture[:, ::-1]).astype(dtype)
