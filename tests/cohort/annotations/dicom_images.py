"""Small mammograms with every tag that highdicom copies into the objects that refer to them."""

from __future__ import annotations

from pathlib import Path

from pydicom import dcmread, uid
from pydicom.dataset import FileDataset

from mammo_aln.cohort.annotations.record import Annotation, Reading, Skipped
from tests.support.dicom_writer import mammogram, save

ROWS, COLUMNS = 120, 80
Box = tuple[float, float, float, float]


def boxes(reading: Reading) -> list[tuple[str, str, Box]]:
    return [
        (item.image, item.region, (item.x_min, item.y_min, item.x_max, item.y_max))
        for item in reading
        if isinstance(item, Annotation)
    ]


def reasons(reading: Reading) -> list[str]:
    return [item.reason for item in reading if isinstance(item, Skipped)]


def stored_mammogram(path: Path, number: int = 1, **tags: object) -> FileDataset:
    """Write a mammogram of 120 x 80 pixels and read it back."""
    values = {
        "SOPInstanceUID": uid.generate_uid(entropy_srcs=[path.name, str(number)]),
        "StudyInstanceUID": "1.2.826.1.1",
        "SeriesInstanceUID": "1.2.826.1.1.1",
        "StudyID": "1",
        "SeriesNumber": "1",
        "InstanceNumber": str(number),
        "StudyDate": "20200102",
        "StudyTime": "101112",
        "AccessionNumber": "A1",
        "ReferringPhysicianName": "",
        "PatientSex": "F",
        "HighBit": 11,
        "PixelSpacing": None,
        **tags,
    }
    save(mammogram((ROWS, COLUMNS), **values), path)
    return dcmread(path)


def plane(number: int) -> dict[str, object]:
    """Tags of an image with a place in the patient, 5 mm from the next number's."""
    return {
        "FrameOfReferenceUID": "1.2.826.3",
        "ImagePositionPatient": [-10.0, 20.0, 5.0 * number],
        "ImageOrientationPatient": [1, 0, 0, 0, 1, 0],
        "PixelSpacing": [0.5, 0.25],
        "SliceThickness": 5.0,
        "SpacingBetweenSlices": 5.0,
    }


SERIES = {
    "series_instance_uid": "1.2.826.2.1",
    "series_number": 9,
    "sop_instance_uid": "1.2.826.2.1.1",
    "instance_number": 1,
    "manufacturer": "Maker",
}
DEVICE = {"manufacturer_model_name": "Viewer", "software_versions": "1", "device_serial_number": "1"}
