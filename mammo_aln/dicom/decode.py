"""A DICOM file to its stored matrix, or one `UnreadableDicom` that names the file and the cause."""

from __future__ import annotations

import logging
import math
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.encaps import encapsulate, generate_frames
from pydicom.errors import InvalidDicomError
from pydicom.filereader import read_dataset, read_partial

from mammo_aln.dicom import codecs
from mammo_aln.dicom.archive import image_bytes, open_image
from mammo_aln.dicom.deflate import (
    MOST_INFLATED_BYTES,
    HeaderEnd,
    TooManyElementsError,
    deflated_from,
    inflated,
)
from mammo_aln.dicom.fast_header import TOO_DEEP
from mammo_aln.dicom.jpeg2000.codestream import DamagedCodestream
from mammo_aln.errors import UnreadableDicom
from mammo_aln.machine.deaths import PANICS, bounded_memory

MAX_PIXELS = 200_000_000
PIXEL_KEYWORDS = ("PixelData", "FloatPixelData", "DoubleFloatPixelData")
MAX_CAUSE_LENGTH = 300
BYTES_PER_PIXEL = 4
SIZES = ("Rows", "Columns", "SamplesPerPixel", "NumberOfFrames")
DECODING_BYTES, DECODING_BYTES_PER_PIXEL = 1 << 30, 64
"""Address space that decoding may take: beside what libraries reserve, codecs need up to a sixth of it a pixel."""

HIGH_BIT_ODD = "high_bit_odd"
BITS_STORED_EXCEEDED = "bits_stored_exceeded"


@contextmanager
def refusing(path: Path, doing: str) -> Iterator[None]:
    """Turn whatever a third-party parser raises on bad bytes into one `UnreadableDicom`; keep parsers' warnings off the
    terminal.

    pydicom's log is silenced too: its messages can quote header values.
    """
    log = logging.getLogger("pydicom")
    level = log.level
    log.setLevel(logging.CRITICAL + 1)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    except UnreadableDicom:
        raise
    except MemoryError as error:  # no fault of the file's: an image must not be left out for it
        raise MemoryError(f"{path}: {doing} needs more memory than is free") from error
    except RecursionError:
        raise UnreadableDicom(f"{path}: {TOO_DEEP}") from None
    except BaseException as error:
        if not isinstance(error, Exception) and type(error).__module__ != PANICS:
            raise
        cause = " ".join(str(error).split()) or "no further reason given"
        if len(cause) > MAX_CAUSE_LENGTH:
            cause = cause[:MAX_CAUSE_LENGTH] + " ..."
        raise UnreadableDicom(f"{path}: {doing} failed ({type(error).__name__}: {cause})") from error
    finally:
        log.setLevel(level)


@contextmanager
def _bounded(path: Path, most_bytes: int) -> Iterator[None]:
    """Bound the memory of a block where this process may die of more; what runs into the bound is the file's fault."""
    bounded = False
    try:
        with bounded_memory(most_bytes) as bounded:
            yield
    except MemoryError:
        if not bounded:
            raise
        raise UnreadableDicom(
            f"{path}: reading takes more than {most_bytes / 1e9:.1f} GB of memory, which no image of its size needs"
        ) from None


def whole_number(dataset: Dataset, keyword: str, path: Path, default: int | None = None) -> int:
    """One integer tag that decoding needs.

    Raises:
        UnreadableDicom: absent without a default, or not one whole number.
    """
    value = dataset.get(keyword)
    if value is None or value == "":
        if default is None:
            raise UnreadableDicom(f"{path}: holds no image ({keyword} is missing)")
        return default
    if not isinstance(value, int):
        raise UnreadableDicom(f"{path}: {keyword} = {str(value)[:40]!r}: expected one whole number")
    return int(value)


def _refuse_absurd_size(dataset: Dataset, path: Path, max_pixels: int) -> None:
    rows, columns = (whole_number(dataset, keyword, path) for keyword in ("Rows", "Columns"))
    samples = whole_number(dataset, "SamplesPerPixel", path, 1)
    frames = whole_number(dataset, "NumberOfFrames", path, 1) or 1
    if min(rows, columns, samples, frames) < 1:
        raise UnreadableDicom(f"{path}: an image of {frames} x {rows} x {columns} x {samples} has no pixels")
    if (pixels := rows * columns * samples * frames) > max_pixels:
        raise UnreadableDicom(
            f"{path}: the header declares {frames} x {rows} x {columns} x {samples} = {pixels} pixels, more than the "
            f"limit of {max_pixels} (raise it with --pixels.max_pixels if the file is sound)"
        )


def _deflated(file: BinaryIO, start: int, path: Path, max_pixels: int, with_pixels: bool) -> FileDataset:
    """Parse a deflated data set: as much is inflated as a header, and then an image of the declared size, need."""
    file.seek(132)
    meta = read_dataset(file, False, True, stop_when=lambda tag, vr, length: tag.group != 2)

    def parsed(most_bytes: int, stop_when: Callable[..., bool] | None) -> FileDataset:
        whole = inflated(file, start, most_bytes)
        data, dataset = BytesIO(whole), Dataset()
        try:
            dataset = read_dataset(data, False, True, stop_when=stop_when)
        except TooManyElementsError:
            if len(whole) < most_bytes:
                raise
            data.seek(most_bytes)
        if data.tell() >= most_bytes:
            raise UnreadableDicom(
                f"{path}: the deflated data set grows beyond {most_bytes} bytes, more than any allowed image"
            )
        dataset = FileDataset(str(path), dataset, bytes(128), FileMetaDataset(meta), False, True)
        dataset.set_original_encoding(False, True, dataset.original_character_set)
        _refuse_absurd_size(dataset, path, max_pixels)
        return dataset

    header = parsed(MOST_INFLATED_BYTES, HeaderEnd())
    pixels = math.prod(whole_number(header, name, path, 1) or 1 for name in SIZES)
    return parsed(MOST_INFLATED_BYTES + BYTES_PER_PIXEL * pixels, None) if with_pixels else header


def _open(file: BinaryIO, path: Path) -> FileDataset:
    """Header up to the pixel data; the file stands at the pixel data element."""
    try:
        return read_partial(file, HeaderEnd())
    except InvalidDicomError:
        # Files without the 128-byte preamble exist; what is not DICOM at all has no image tags either.
        file.seek(0)
        dataset = read_partial(file, HeaderEnd(), force=True)
        if "Rows" not in dataset and "SOPClassUID" not in dataset:
            raise UnreadableDicom(f"{path}: not a DICOM file (no 'DICM' marker, no image tags)") from None
        return dataset


def read_file(path: str | Path, *, max_pixels: int = MAX_PIXELS, with_pixels: bool = True) -> FileDataset:
    """Parse a file; the declared size is checked before the pixel data is read.

    Raises:
        UnreadableDicom: not a file, not DICOM, no image in it, absurd size, cut off.
    """
    path = Path(path)
    try:
        file = open_image(path)
    except OSError as error:
        raise UnreadableDicom(f"{path}: cannot be opened ({error.strerror})") from error
    with file, refusing(path, "reading the header"), _bounded(path, DECODING_BYTES + 4 * image_bytes(path)):
        if (start := deflated_from(file)) is not None:
            return _deflated(file, start, path, max_pixels, with_pixels)
        dataset = _open(file, path)
        _refuse_absurd_size(dataset, path, max_pixels)
        if not with_pixels:
            return dataset
        implicit, little = dataset.original_encoding
        dataset.update(read_dataset(file, bool(implicit), bool(little)))
        return dataset


def _encoded_frames_are_whole(dataset: Dataset, syntax: str, path: Path) -> None:
    """Refuse a codestream of another size than the header's, or one without its end, before any decoder sees it.

    libjpeg and OpenJPH fill the rest of a cut-off image with grey and call it success.
    """
    if syntax not in (*codecs.JPEG, *codecs.JPEG_LS, *codecs.JPEG_2000, *codecs.HTJ2K):
        return
    frames = whole_number(dataset, "NumberOfFrames", path, 1) or 1
    expected = (int(dataset.Rows), int(dataset.Columns))
    for number, source in enumerate(generate_frames(dataset.PixelData, number_of_frames=frames), start=1):
        if number > frames:
            return
        size = codecs.declared_size(source)
        if size != expected:
            raise UnreadableDicom(
                f"{path}: frame {number}'s codestream declares {size} rows and columns, the header {expected}"
            )
        if codecs.END_MARKER not in source[-64:] and source.rfind(codecs.END_MARKER) < 0:
            raise UnreadableDicom(
                f"{path}: frame {number}'s codestream stops before its end marker: the file is cut off"
            )


def _single_frame(dataset: FileDataset, syntax: str) -> np.ndarray | None:
    """One monochrome frame with no copy beside what its codec needs; `None` leaves it to pydicom's decoders.

    A codec needs up to 3.3 images of memory, and fresh memory costs as much time as copying into it.
    """
    if dataset.get("PixelRepresentation") not in (0, 1):
        return None
    shape, signed = (int(dataset.Rows), int(dataset.Columns)), dataset.PixelRepresentation == 1
    if syntax in codecs.LITTLE_ENDIAN:
        words = f"<{'i' if signed else 'u'}2"
        whole = dataset.get("BitsAllocated") == 16 and len(dataset.PixelData) == 2 * shape[0] * shape[1]
        return np.frombuffer(dataset.PixelData, words).reshape(shape) if whole else None
    if not codecs.decodes_alone(syntax, signed):
        return None
    source = next(generate_frames(dataset.PixelData, number_of_frames=1))
    del dataset.PixelData
    try:
        return codecs.decode_alone(source, syntax, shape, signed)
    except MemoryError:
        raise
    except Exception:  # noqa: BLE001 - imagecodecs raises its own types; the decoders behind it have their turn
        dataset.PixelData = encapsulate([source])
        return None


def _decoded(dataset: FileDataset, syntax: str, path: Path) -> np.ndarray:
    frames = whole_number(dataset, "NumberOfFrames", path, 1) or 1
    if syntax in codecs.JPEG_XL:
        samples = whole_number(dataset, "SamplesPerPixel", path, 1)
        shape = (int(dataset.Rows), int(dataset.Columns), *((samples,) if samples > 1 else ()))
        dtype = np.uint8 if dataset.BitsAllocated == 8 else np.uint16
        sources = list(generate_frames(dataset.PixelData, number_of_frames=frames))
        images = [codecs.decode_jpeg_xl(source, shape, dtype) for source in sources]
        return images[0] if frames == 1 else np.stack(images)
    if frames == 1 and whole_number(dataset, "SamplesPerPixel", path, 1) == 1:
        alone = _single_frame(dataset, syntax)
        if alone is not None:
            return alone
    # `settle_bits` corrects unused bits, and more
    options: dict[str, Any] = {"correct_unused_bits": False} if keeps_words(syntax) else {}
    return codecs.decoder_for(syntax).as_array(dataset, raw=True, **options)[0]


def keeps_words(syntax: str) -> bool:
    """Test that HighBit speaks of this transfer syntax (JPEG-LS, JPEG 2000 and JPEG XL store values, not words)."""
    return syntax not in (*codecs.JPEG_LS, *codecs.JPEG_2000, *codecs.HTJ2K, *codecs.JPEG_XL)


def _exceeds(stored: np.ndarray, bits: int) -> bool:
    """Test that some value needs more than `bits` bits."""
    low, high = int(stored.min()), int(stored.max())
    if stored.dtype.kind == "u":
        return high >= 1 << bits
    return low < -(1 << (bits - 1)) or high >= 1 << (bits - 1)


def settle_bits(
    stored: np.ndarray, *, bits_stored: int, high_bit: int, overlay_in_pixels: bool
) -> tuple[np.ndarray, list[str]]:
    """Take values from words that are wider than the stored bits (PS3.5 section 8.1.1), in place where possible.

    The standard says: the value lies in the `bits_stored` bits that end at `high_bit`, other bits are ignored. Two
    kinds of wrong header are met and told apart by the words themselves:

    - `high_bit` above `bits_stored - 1`: believed only if some word has bits above `bits_stored`, else the values lie
      low already.
    - words exceed `bits_stored`: where the header declares an overlay in those bits they are cut off, else the words
      are believed, since cutting would fold bright tissue into dark.

    Args:
        stored: integer words.
        bits_stored: header's BitsStored.
        high_bit: header's HighBit.
        overlay_in_pixels: the header declares an overlay plane in unused bits.

    Returns:
        Values and the codes of what was odd.
    """
    allocated = 8 * stored.dtype.itemsize
    if not 1 <= bits_stored <= allocated:
        return stored, [BITS_STORED_EXCEEDED]
    odd = high_bit != bits_stored - 1
    codes = [HIGH_BIT_ODD] if odd else []
    if not _exceeds(stored, bits_stored):
        return stored, codes
    low, high, signed = int(stored.min()), int(stored.max()), stored.dtype.kind == "i"
    fits_unextended = signed and low >= -(1 << (bits_stored - 1)) and high < 1 << bits_stored
    shifted = odd and bits_stored <= high_bit < allocated
    if not (fits_unextended or shifted or overlay_in_pixels):
        return stored, [*codes, BITS_STORED_EXCEEDED]
    above = allocated - 1 - high_bit if shifted else allocated - bits_stored
    stored = stored if stored.flags.writeable else stored.copy()
    np.left_shift(stored, above, out=stored)
    np.right_shift(stored, allocated - bits_stored, out=stored)
    return stored, codes


def _overlay_in_pixels(dataset: Dataset) -> bool:
    """Test that an overlay group (60xx) has its plane in the pixels (OverlayBitPosition above 0, no OverlayData)."""
    positions = (dataset.get((group, 0x0102)) for group in range(0x6000, 0x6020, 2) if (group, 0x3000) not in dataset)
    return any(element is not None and isinstance(element.value, int) and element.value > 0 for element in positions)


def decode(dataset: FileDataset, path: str | Path) -> tuple[np.ndarray, list[str]]:
    """Decode the stored matrix of a parsed file; also the codes of what is odd about its words.

    To save memory, `dataset` may have lost its PixelData afterwards.

    Raises:
        UnreadableDicom: no pixel data, unknown transfer syntax, truncated or broken pixel data.
    """
    path = Path(path)
    with refusing(path, "decoding"):
        if not any(keyword in dataset for keyword in PIXEL_KEYWORDS):
            raise UnreadableDicom(f"{path}: holds no pixel data (absent, or the file is cut off before its end)")
        syntax = str(dataset.file_meta.get("TransferSyntaxUID") or "")
        if not syntax:
            raise UnreadableDicom(
                f"{path}: no transfer syntax in the file meta information, so its pixels cannot be read"
            )
        if not codecs.is_supported(syntax):
            raise UnreadableDicom(f"{path}: transfer syntax {syntax} is not supported")
        if "PixelData" in dataset and dataset.get("PixelRepresentation") is None:
            dataset.PixelRepresentation = 0  # as the typed header takes it
        _encoded_frames_are_whole(dataset, syntax, path)
        pixels = math.prod(whole_number(dataset, name, path, 1) or 1 for name in SIZES)
        with _bounded(path, DECODING_BYTES + DECODING_BYTES_PER_PIXEL * pixels):
            try:
                stored = _decoded(dataset, syntax, path)
            except DamagedCodestream as error:
                raise UnreadableDicom(f"{path}: the JPEG 2000 codestream is damaged: {error}") from error
        if stored.size == 0:
            raise UnreadableDicom(f"{path}: the decoder returned no pixels")
        bits = whole_number(dataset, "BitsStored", path, 8 * stored.dtype.itemsize)
        if stored.dtype.kind not in "iu" or dataset.get("BitsAllocated") == 1:
            return stored, []
        high_bit = whole_number(dataset, "HighBit", path, bits - 1) if keeps_words(syntax) else bits - 1
        return settle_bits(stored, bits_stored=bits, high_bit=high_bit, overlay_in_pixels=_overlay_in_pixels(dataset))
