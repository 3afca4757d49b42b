"""Mask pictures (PNG, TIFF, BMP) and mask volumes of one slice (NIfTI, NRRD): labels become boxes.

Every value but 0 is a label. A mask of one label at its type's largest value (0 and 255) has no name for it; other
values name their region by their number, the segments of `.seg.nrrd` by their own names, colours as #rrggbb.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from mammo_aln.cohort.annotations.components import mask_annotations
from mammo_aln.cohort.annotations.documents import read_bytes
from mammo_aln.cohort.annotations.record import NO_REGION, Annotation, Element, Listed, Reading, Skipped
from mammo_aln.cohort.annotations.slices import read_slice, whole_numbers
from mammo_aln.dicom.decode import MAX_PIXELS
from mammo_aln.errors import InputError

PICTURE_ENDINGS = (".png", ".tif", ".tiff", ".bmp")
LOSSY_ENDINGS = (".jpg", ".jpeg", ".jfif", ".webp")
VOLUME_ENDINGS = (".nii.gz", ".nii", ".seg.nrrd", ".nrrd")
MASK_ENDINGS = (*VOLUME_ENDINGS, *PICTURE_ENDINGS, *LOSSY_ENDINGS)
MASK_WORDS = re.compile(r"(?<=.)[_.-](mask|seg|segmentation|labels?|labelmap|roi)$", re.IGNORECASE)
"""Words that tools add to the image's name."""
LOSSY_COMPRESSIONS = ("jpeg", "tiff_jpeg", "webp")
MODES = ("1", "L", "LA", "P", "I;16", "I;16B", "I;16L", "I;16N", "I", "F", "RGB", "RGBA")
"""Pillow's modes of grey values, palettes and colours."""
MOST_LABELS = 32
"""More values are a photograph, a probability map or edges that a resampling softened."""
LONE_LABEL = "1"
EMPTY = "an empty mask"


def mask_stem(path: Path) -> str:
    """The file's folder and name without a mask's ending and words: what names its image."""
    ending = next((ending for ending in MASK_ENDINGS if path.name.lower().endswith(ending)), path.suffix)
    stem = MASK_WORDS.sub("", path.name[: len(path.name) - len(ending)])
    return f"{path.parent.name}/{stem}" if path.parent.name else stem


def read_mask(path: Path) -> Reading:
    """Read a mask: one box for each connected piece of each label.

    Raises:
        InputError: unreadable or cut off, lossy, several pages or slices, more values than a mask has, axes in another
            order than columns and rows, or a mask that is no set of lesions (see `mask_annotations`).
    """
    read_bytes(path)
    name = path.name.lower()
    if name.endswith(LOSSY_ENDINGS):
        raise InputError(f"{path}: JPEG and WebP blur the edges of a mask: expected PNG, TIFF, NIfTI or NRRD")
    labels = _volume_labels(path) if name.endswith(VOLUME_ENDINGS) else _picture_labels(path)
    image = mask_stem(path)
    reading: list[Element] = []
    for region, mask in labels:
        reading += mask_annotations(mask, image, region, f"{path.name} label {region}" if region else path.name)
    return [*(reading or [Skipped(EMPTY, path.name)]), Listed(image)]


def without_lone_label(reading: Reading) -> Reading:
    """The reading of all masks of one import, without the label 1 where no mask has another: it names nothing."""
    names = {item.region for item in reading if isinstance(item, Annotation)}
    if not names <= {LONE_LABEL, NO_REGION}:
        return reading
    return [replace(item, region=NO_REGION) if isinstance(item, Annotation) else item for item in reading]


def _picture_labels(path: Path) -> Iterator[tuple[str, np.ndarray]]:
    try:
        with Image.open(path) as picture:
            compression = str(picture.info.get("compression", "")).lower()
            if compression in LOSSY_COMPRESSIONS or picture.format in ("JPEG", "WEBP", "GIF"):
                raise InputError(f"{path}: stored as {compression or picture.format}: expected a lossless PNG or TIFF")
            if (pages := getattr(picture, "n_frames", 1)) != 1:
                raise InputError(f"{path}: holds {pages} pages: expected one mask for one image")
            if picture.width * picture.height > MAX_PIXELS:
                raise InputError(f"{path}: {picture.width} x {picture.height} pixels: expected at most {MAX_PIXELS}")
            if picture.mode not in MODES:
                raise InputError(f"{path}: its colours are {picture.mode}: expected grey values, a palette or RGB")
            named_colours = picture.mode == "P"
            pixels = np.asarray(picture)
    except InputError:
        raise
    except Image.DecompressionBombError as error:
        raise InputError(f"{path}: {error}") from error
    except Exception as error:
        # Pillow raises OSError, SyntaxError, ValueError, struct.error and more on bad bytes
        raise InputError(f"{path}: cannot be read as a picture ({error}): expected a whole PNG or TIFF") from error
    if pixels.ndim == 3:
        pixels, has_colours = _one_channel(pixels, path)
        if has_colours:
            yield from _named(pixels, "#{:06x}".format, None, path)
            return
    if pixels.dtype.kind == "f":
        pixels = whole_numbers(pixels, path)
    largest = None if named_colours else 1 if pixels.dtype == bool else np.iinfo(pixels.dtype).max
    yield from _named(pixels, "{}".format, largest, path)


def _one_channel(pixels: np.ndarray, path: Path) -> tuple[np.ndarray, bool]:
    """Grey values where the colour channels agree, else colours as one number each, and True for colours.

    Raises:
        InputError: a picture with transparent pixels.
    """
    if pixels.shape[2] in (2, 4):
        if (pixels[..., -1] != np.iinfo(pixels.dtype).max).any():
            raise InputError(f"{path}: has transparent pixels: expected a mask without transparency")
        pixels = pixels[..., :-1]
    if all(np.array_equal(pixels[..., 0], pixels[..., other]) for other in range(1, pixels.shape[2])):
        return pixels[..., 0], False
    red, green, blue = (pixels[..., channel].astype(np.uint32) for channel in range(3))
    return (red << 16) | (green << 8) | blue, True


def _volume_labels(path: Path) -> Iterator[tuple[str, np.ndarray]]:
    layers, segments = read_slice(path)
    for segment in segments:
        yield segment.name, layers[segment.layer] == segment.value
    if not segments:
        largest = np.iinfo(layers.dtype).max if layers.dtype.kind == "u" else None
        yield from _named(layers[0], "{}".format, largest, path)


def _named(
    pixels: np.ndarray, name: Callable[[int], str], largest: int | None, path: Path
) -> Iterator[tuple[str, np.ndarray]]:
    """Region and mask of each label of a picture (rows, columns) of whole numbers.

    Raises:
        InputError: negative values, or more than `MOST_LABELS`.
    """
    values = [value for value in _values(pixels) if value != 0]
    if len(values) > MOST_LABELS:
        raise InputError(
            f"{path}: holds {len(values)} values beside 0: expected a mask of at most {MOST_LABELS} labels; "
            "photographs, probabilities and masks with softened edges are none"
        )
    if values and values[0] < 0:
        raise InputError(f"{path}: holds {values[0]}: expected labels from 1 on and 0 as the background")
    for value in values:
        yield NO_REGION if values == [largest] else name(value), pixels == value


def _values(pixels: np.ndarray) -> list[int]:
    """The values that a picture holds, ascending; a histogram takes a tenth of the time of sorting."""
    if pixels.dtype in (np.uint8, np.uint16):
        count = int(np.iinfo(pixels.dtype).max) + 1
        histogram = cv2.calcHist([np.ascontiguousarray(pixels)], [0], None, [count], [0, count])
        return [int(value) for value in np.flatnonzero(histogram)]
    return [int(value) for value in np.unique(pixels)]
