"""imagecodecs as a pydicom decoder plugin; pylibjpeg and gdcm stand behind it, but not for JPEG 2000 and HTJ2K, whose
damage they decode without a word.

The decoders here are our own `Decoder` objects: pydicom's global ones stay as they are, so that importing this package
changes nothing for other code in the process.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import imagecodecs
import numpy as np
from pydicom import uid
from pydicom.pixels.decoders import gdcm as gdcm_plugin
from pydicom.pixels.decoders import pylibjpeg as pylibjpeg_plugin
from pydicom.pixels.decoders.base import Decoder, DecodeRunner

from mammo_aln.dicom.jpeg2000 import codestream

JPEG = (uid.JPEGBaseline8Bit, uid.JPEGExtended12Bit, uid.JPEGLossless, uid.JPEGLosslessSV1)
JPEG_LS = (uid.JPEGLSLossless, uid.JPEGLSNearLossless)
JPEG_2000 = (uid.JPEG2000Lossless, uid.JPEG2000)
HTJ2K = (uid.HTJ2KLossless, uid.HTJ2KLosslessRPCL, uid.HTJ2K)
JPEG_XL = ("1.2.840.10008.1.2.4.110", "1.2.840.10008.1.2.4.111", "1.2.840.10008.1.2.4.112")

NATIVE = (
    uid.ImplicitVRLittleEndian,
    uid.ExplicitVRLittleEndian,
    uid.ExplicitVRBigEndian,
    uid.DeflatedExplicitVRLittleEndian,
)

LITTLE_ENDIAN = (uid.ImplicitVRLittleEndian, uid.ExplicitVRLittleEndian)

END_MARKER = b"\xff\xd9"


def _jpeg(src: bytes, runner: DecodeRunner | None) -> np.ndarray:
    if runner is not None and runner.samples_per_pixel > 1:
        raise NotImplementedError("colour JPEG is left to the next decoder, which returns it unconverted")
    return imagecodecs.jpeg8_decode(src)


def _rle(src: bytes, runner: DecodeRunner) -> np.ndarray:
    dtype = np.dtype(f"<u{runner.bits_allocated // 8}")
    planes = np.frombuffer(imagecodecs.dicomrle_decode(src, dtype), dtype)
    if runner.samples_per_pixel > 1:
        runner.set_option("planar_configuration", 1)
    return planes


CODECS: dict[str, Callable[[bytes, Any], np.ndarray]] = {
    **dict.fromkeys(JPEG, _jpeg),
    **dict.fromkeys(JPEG_LS, lambda src, _: imagecodecs.jpegls_decode(src)),
    **dict.fromkeys(JPEG_2000, lambda src, _: codestream.decoded(src)),
    **dict.fromkeys(HTJ2K, lambda src, _: codestream.decoded_htj2k(src)),
    uid.RLELossless: _rle,
}

DECODER_DEPENDENCIES = dict.fromkeys(CODECS, ("imagecodecs",))
"""Part of pydicom's plugin protocol."""


def is_supported(transfer_syntax: str) -> bool:
    """Test that some decoder here reads the transfer syntax."""
    return transfer_syntax in CODECS or transfer_syntax in NATIVE or transfer_syntax in JPEG_XL


def is_available(transfer_syntax: str) -> bool:
    """Test that this plugin decodes the transfer syntax (part of pydicom's plugin protocol)."""
    return transfer_syntax in CODECS


def decode_frame(src: bytes, runner: DecodeRunner) -> memoryview:
    """Part of pydicom's plugin protocol: one encoded frame to its bytes, colour by pixel, container as the codec gives
    it."""
    frame = np.ascontiguousarray(CODECS[runner.transfer_syntax](src, runner))
    expected = runner.rows * runner.columns * runner.samples_per_pixel
    if frame.size != expected:
        raise ValueError(f"the codestream holds {frame.size} values, the header declares {expected}")
    runner.set_option("bits_allocated", 8 * frame.dtype.itemsize)
    if runner.samples_per_pixel > 1 and runner.transfer_syntax != uid.RLELossless:
        runner.set_option("planar_configuration", 0)
    return frame.data.cast("B")


def decodes_alone(transfer_syntax: str, signed: bool) -> bool:
    """Test that `decode_alone` gives the values as they are: JPEG-LS stores signed ones without their sign."""
    return transfer_syntax in (*JPEG, *JPEG_2000, *HTJ2K) or (transfer_syntax in JPEG_LS and not signed)


def decode_alone(source: bytes, transfer_syntax: str, shape: tuple[int, int], signed: bool) -> np.ndarray:
    """Decode one monochrome frame without pydicom's runner, which keeps a second copy of the encoded data.

    Raises:
        ValueError: the codestream does not hold `shape` values; whatever else imagecodecs raises on bad data.
    """
    frame = np.ascontiguousarray(CODECS[transfer_syntax](source, None))
    if frame.size != shape[0] * shape[1]:
        raise ValueError(f"the codestream holds {frame.size} values, the header declares {shape[0] * shape[1]}")
    return frame.view(f"{'i' if signed else 'u'}{frame.dtype.itemsize}").reshape(shape)


PLUGINS = (
    ("imagecodecs", (__name__, "decode_frame"), DECODER_DEPENDENCIES),
    ("pylibjpeg", ("pydicom.pixels.decoders.pylibjpeg", "_decode_frame"), pylibjpeg_plugin.DECODER_DEPENDENCIES),
    ("gdcm", ("pydicom.pixels.decoders.gdcm", "_decode_frame"), gdcm_plugin.DECODER_DEPENDENCIES),
)


@cache
def decoder_for(transfer_syntax: str) -> Decoder:
    """pydicom's decoder of a transfer syntax with imagecodecs first, then (but for JPEG 2000) pylibjpeg and gdcm."""
    decoder = Decoder(uid.UID(transfer_syntax))
    if decoder.is_encapsulated:
        for name, function, supported in PLUGINS:
            if transfer_syntax in supported and (name == "imagecodecs" or transfer_syntax not in (*JPEG_2000, *HTJ2K)):
                decoder.add_plugin(name, function)
    return decoder


def decode_jpeg_xl(src: bytes, shape: tuple[int, ...], dtype: Any) -> np.ndarray:
    """One JPEG XL frame; the output's shape is given, so that a codestream of another size is refused before memory is
    taken."""
    out = np.empty(shape, dtype)
    imagecodecs.jpegxl_decode(src, out=out)
    return out


def declared_size(src: bytes) -> tuple[int, int] | None:
    """Rows and columns that a JPEG, JPEG-LS or JPEG 2000 codestream declares; None where it has no such header."""
    if (start := src.find(b"\xff\x4f\xff\x51", 0, 4096)) >= 0:
        x_size, y_size, x_offset, y_offset = (
            int.from_bytes(src[start + i : start + i + 4], "big") for i in (8, 12, 16, 20)
        )
        return y_size - y_offset, x_size - x_offset
    if src[:2] != b"\xff\xd8":
        return None
    at = 2
    while at + 9 <= len(src) and src[at] == 0xFF:
        marker = src[at + 1]
        if marker == 0xFF:
            at += 1
            continue
        if marker == 0xF7 or (0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC)):
            return int.from_bytes(src[at + 5 : at + 7], "big"), int.from_bytes(src[at + 7 : at + 9], "big")
        at += 2 + int.from_bytes(src[at + 2 : at + 4], "big")
    return None
