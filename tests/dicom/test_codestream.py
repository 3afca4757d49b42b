"""JPEG 2000 has no checksum: sound codestreams of any settings pass, damaged ones are refused, never shown."""

from __future__ import annotations

from io import BytesIO
from random import Random

import imagecodecs
import numpy as np
import pytest
from PIL import Image
from pydicom.uid import JPEG2000Lossless

from mammo_aln.dicom.decode import decode, read_file
from mammo_aln.dicom.jpeg2000.codestream import DamagedCodestream, decoded, decoded_htj2k
from mammo_aln.errors import UnreadableDicom
from tests.support.dicom_writer import write_dicom

DOWN, ACROSS = np.mgrid[:180, :150]
TISSUE = 2000 + 900 * np.sin(DOWN / 17) * np.cos(ACROSS / 23) + np.random.default_rng(0).normal(0, 40, DOWN.shape)
IMAGE = np.where(ACROSS < 100, TISSUE, 0).astype(np.uint16)
EDGE = np.where((DOWN > 60) & (ACROSS > 70), 4095, 0).astype(np.uint16)
SETTINGS = (
    {},
    {"irreversible": True, "quality_mode": "rates", "quality_layers": [40, 20, 10, 5]},
    {"quality_mode": "rates", "quality_layers": [100, 20, 5, 1]},
    {"precinct_size": (32, 32), "codeblock_size": (16, 16), "progression": "RPCL"},
    {"tile_size": (64, 64), "num_resolutions": 3, "progression": "PCRL"},
    {"irreversible": True, "quality_mode": "dB", "quality_layers": [30, 50], "progression": "CPRL"},
)


def encoded(image: np.ndarray, **settings: object) -> bytes:
    stream = BytesIO()
    Image.fromarray(image).save(stream, "JPEG2000", no_jp2=True, **settings)
    return stream.getvalue()


@pytest.mark.parametrize("image", [IMAGE, EDGE, np.zeros_like(IMAGE)])
@pytest.mark.parametrize("settings", SETTINGS)
def test_sound_codestreams_of_any_settings_are_decoded_as_openjpeg_does(image, settings):
    source = encoded(image, **settings)
    np.testing.assert_array_equal(decoded(source), imagecodecs.jpeg2k_decode(source))


def zeroed(source: bytes) -> bytes:
    half = len(source) // 2
    return source[:half] + bytes(len(source) - half - 2) + source[-2:]


def scattered(source: bytes) -> bytes:
    damaged, random = bytearray(source), Random(1)
    for at in range(len(source) // 3, len(source) - 10, 97):
        damaged[at] = random.randrange(256)
    return bytes(damaged)


def flipped(source: bytes) -> bytes:
    at = len(source) // 3
    return source[:at] + bytes([source[at] ^ 0x40]) + source[at + 1 :]


def longer(source: bytes) -> bytes:
    at = source.index(b"\xff\x90") + 6
    return source[:at] + (int.from_bytes(source[at : at + 4], "big") + 1000).to_bytes(4, "big") + source[at + 4 :]


@pytest.mark.parametrize("damage", [zeroed, scattered, flipped, longer])
@pytest.mark.parametrize("settings", [SETTINGS[0], SETTINGS[2]])
def test_damage_is_refused_in_words(tmp_path, damage, settings):
    source = damage(encoded(IMAGE, **settings))
    path = write_dicom(tmp_path / "x.dcm", IMAGE, syntax=JPEG2000Lossless, frames=[source])
    with pytest.raises(UnreadableDicom, match=r"x\.dcm: the JPEG 2000 codestream is damaged: .*\d"):
        decode(read_file(path), path)


@pytest.mark.parametrize("damage", [zeroed, scattered])
def test_htj2k_whose_decoder_fails_never_hands_on_memory_as_it_was(damage):
    source = imagecodecs.htj2k_encode(IMAGE, reversible=True)
    np.testing.assert_array_equal(decoded_htj2k(source), IMAGE)
    with pytest.raises(DamagedCodestream):
        decoded_htj2k(damage(source))
