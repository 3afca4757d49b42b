"""Peers of the pixel path: bare decoding, and pydicom with one pass over the file per strategy."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.cohort import SYNTAXES


def only_decode(path: Path) -> None:
    """The floor: read a file and decode it with imagecodecs, nothing else."""
    import imagecodecs
    import pydicom
    from pydicom.encaps import generate_frames

    codec = {
        SYNTAXES["JPEG lossless"]: imagecodecs.jpeg8_decode,
        SYNTAXES["JPEG-LS"]: imagecodecs.jpegls_decode,
        SYNTAXES["JPEG 2000"]: lambda data: imagecodecs.jpeg2k_decode(data, numthreads=1),
    }
    dataset = pydicom.dcmread(path)
    decode = codec.get(dataset.file_meta.TransferSyntaxUID)
    if decode is None:
        pixels = np.frombuffer(dataset.PixelData, np.uint16)
    else:
        pixels = decode(next(generate_frames(dataset.PixelData, number_of_frames=1)))
    assert pixels.size == dataset.Rows * dataset.Columns


def _one_pass_per_strategy(path: Path, with_pydicom_voi: bool) -> None:
    """The peer: pydicom's own decoders, one pass over the file for each strategy; our windows and area averages."""
    import cv2
    import pandas as pd
    import pydicom
    from pydicom.pixels import apply_modality_lut, apply_voi_lut

    from mammo_aln.crops.anatomy import find_anatomy
    from mammo_aln.crops.window import crop_window, cut
    from mammo_aln.dicom.grayscale import to_display
    from mammo_aln.dicom.header import header_of
    from mammo_aln.dicom.orientation import Orientation, chest_wall_side, find_orientation
    from mammo_aln.dicom.spacing import breast_spacing
    from mammo_aln.settings import STRATEGIES, CropConfig, PixelConfig

    cv2.setNumThreads(1)
    regions = pd.read_csv(path.parents[1] / "regions.csv")
    boxes = regions[regions["image_id"] == path.stem]
    for strategy in STRATEGIES:
        dataset = pydicom.dcmread(path)
        header = header_of(dataset, path)
        if with_pydicom_voi:
            display = apply_voi_lut(apply_modality_lut(dataset.pixel_array, dataset), dataset)
            shown = (display / 4095.0).astype(np.float32)
        else:
            shown = to_display(dataset.pixel_array, header, PixelConfig())[0]
        spacing, _ = breast_spacing(header, None)
        orientation: Orientation = find_orientation(
            header.patient_orientation, header.laterality, chest_wall_side(shown)
        )[0]
        anatomy = find_anatomy(shown, spacing, orientation, "MLO")
        for box in boxes[["x_min", "y_min", "x_max", "y_max"]].itertuples(index=False):
            cut(shown, crop_window(strategy, tuple(box), spacing, anatomy.breast_box, CropConfig()), 256)


def pydicom_throughout(path: Path) -> None:
    """The peer as users write it: pydicom decodes and applies the VOI."""
    _one_pass_per_strategy(path, with_pydicom_voi=True)


def pydicom_decoders_only(path: Path) -> None:
    """A kinder peer: pydicom decodes, our table applies the VOI."""
    _one_pass_per_strategy(path, with_pydicom_voi=False)


def monai_dataset(files: list[dict[str, Path]], cache: Path) -> Any:
    """MONAI's on-disk cache of crops as float tensors, with its dictionary transforms, as its tutorials write it."""
    from monai.data import PersistentDataset
    from monai.transforms import Compose, EnsureChannelFirstd, EnsureTyped, LoadImaged, ScaleIntensityRanged

    steps = [
        LoadImaged(keys="image", reader="NumpyReader"),
        EnsureChannelFirstd(keys="image", channel_dim="no_channel"),
        ScaleIntensityRanged(keys="image", a_min=0, a_max=65535, b_min=0.0, b_max=1.0),
        EnsureTyped(keys="image"),
    ]
    return PersistentDataset(files, Compose(steps), cache_dir=cache)
