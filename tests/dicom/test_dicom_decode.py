"""The stored matrix: real files of every codec against recorded pixels, round trips, and what becomes of bad bytes."""

from __future__ import annotations

import hashlib
import json
import tracemalloc
import zlib
from pathlib import Path

import imagecodecs
import numpy as np
import pydicom
import pytest
from pydicom import uid
from pydicom.encaps import encapsulate, generate_frames

from mammo_aln.dicom import codecs
from mammo_aln.dicom import decode as dicom
from mammo_aln.dicom.decode import decode, read_file, settle_bits
from mammo_aln.errors import InputError, UnreadableDicom
from tests.support.dicom_writer import ENCODERS, breast, lut_item, write_dicom
from tests.support.stored_pixels import read_stored_pixels

OWN = Path(__file__).parents[1] / "data" / "dicom"
LOSSY = (
    "Near-Lossless",
    "JPEG Extended",
    "JPEG Baseline",
    "JPEG 2000 Image Compression",
    "High-Throughput JPEG 2000 Image Compression",
)
BEYOND_STOCK = {  # the stock decoders fail on these, imagecodecs reads them: shape, minimum, maximum seen with it
    "mg_dicom/MG1_JPLY": ([4664, 3064], 0, 4095),
    "decode/JPEG-lossy.dcm": ([1024, 256], 0, 264),
    "decode/RG3_JPLY": ([1760, 1760], 0, 1024),
    "decode/will-jxl.dcm": ([27, 708, 1016, 3], 0, 255),
}


def is_lossless(transfer_syntax: str) -> bool:
    return transfer_syntax not in LOSSY and not any(word in transfer_syntax for word in LOSSY[:3])


def agrees_with(found: np.ndarray, expected: dict) -> None:
    assert list(found.shape) == expected["shape"]
    assert str(found.dtype) == expected["dtype"]
    assert (found.min(), found.max()) == (expected["min"], expected["max"])
    if is_lossless(expected["ts_name"]):
        assert hashlib.sha256(np.ascontiguousarray(found).tobytes()).hexdigest()[:16] == expected["sha256"]


def check_recorded(path: Path, name: str, expected: dict) -> None:
    if expected["decode"] == "ok":
        agrees_with(read_stored_pixels(path), expected)
    elif name in BEYOND_STOCK:
        found = read_stored_pixels(path)
        assert (list(found.shape), found.min(), found.max()) == BEYOND_STOCK[name]
    else:
        with pytest.raises(UnreadableDicom) as caught:
            read_stored_pixels(path)
        assert str(path) in str(caught.value)
        assert "\n" not in str(caught.value)
        assert len(str(caught.value)) > len(str(path)) + 15


def test_all_76_recorded_files(shared: Path) -> None:
    files = json.loads((shared / "data" / "manifest_decode.json").read_text())["files"]
    assert len(files) == 76
    for name, expected in files.items():
        check_recorded(shared / "data" / name, name, expected)


@pytest.mark.parametrize("name", sorted(json.loads((OWN / "expected.json").read_text())))
def test_own_small_files(name: str) -> None:
    check_recorded(OWN / name, name, json.loads((OWN / "expected.json").read_text())[name])


def test_12_bit_jpeg_is_the_same_picture_as_its_jpeg_2000_twin(shared: Path) -> None:
    folder = shared / "data" / "mg_dicom"
    jpeg, jpeg_2000 = (read_stored_pixels(folder / name).astype(int) for name in ("MG1_JPLY", "MG1_J2KI"))
    difference = np.abs(jpeg - jpeg_2000)
    assert difference.mean() == pytest.approx(13.25, abs=0.005)
    assert difference.max() == 192


LOSSLESS_SYNTAXES = [
    uid.ExplicitVRLittleEndian,
    uid.ImplicitVRLittleEndian,
    uid.DeflatedExplicitVRLittleEndian,
    uid.RLELossless,
    *(syntax for syntax in ENCODERS if syntax != uid.JPEGExtended12Bit),
]


@pytest.mark.parametrize("bits", [8, 9, 10, 12, 14, 16])
@pytest.mark.parametrize("syntax", LOSSLESS_SYNTAXES, ids=lambda syntax: uid.UID(syntax).name[:30])
def test_lossless_round_trip_unsigned(tmp_path: Path, syntax: str, bits: int) -> None:
    if syntax == uid.HTJ2KLossless and bits not in (8, 16):
        pytest.skip("the encoder cannot write this precision")
    pixels = np.random.default_rng(bits).integers(0, 1 << bits, (33, 20)).astype("u1" if bits == 8 else "u2")
    pixels[0, :2] = 0, (1 << bits) - 1
    path = write_dicom(tmp_path / "a.dcm", pixels, syntax=syntax, BitsStored=bits)
    found = read_stored_pixels(path)
    assert found.dtype == pixels.dtype
    np.testing.assert_array_equal(found, pixels)


@pytest.mark.parametrize("bits", [9, 12, 16])
@pytest.mark.parametrize(
    "syntax",
    [uid.ExplicitVRLittleEndian, uid.RLELossless, uid.JPEGLSLossless, uid.JPEGLosslessSV1, uid.JPEG2000Lossless],
)
def test_lossless_round_trip_signed(tmp_path: Path, syntax: str, bits: int) -> None:
    half = 1 << (bits - 1)
    pixels = np.random.default_rng(bits).integers(-half, half, (33, 20)).astype("i2")
    path = write_dicom(tmp_path / "a.dcm", pixels, syntax=syntax, BitsStored=bits)
    np.testing.assert_array_equal(read_stored_pixels(path), pixels)


def test_lossy_12_bit_is_close(tmp_path: Path) -> None:
    smooth = np.add.outer(np.arange(64), np.arange(48)).astype("u2") * 30
    path = write_dicom(tmp_path / "a.dcm", smooth, syntax=uid.JPEGExtended12Bit, BitsStored=12)
    assert np.abs(read_stored_pixels(path).astype(int) - smooth).max() <= 8


@pytest.mark.parametrize(("syntax", "next_decoder"), [(uid.RLELossless, "pylibjpeg"), (uid.JPEGLosslessSV1, "gdcm")])
def test_the_next_decoder_takes_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, syntax: str, next_decoder: str
) -> None:
    asked = []

    def fails(src: bytes, runner: object) -> np.ndarray:
        asked.append(len(src))
        raise ValueError("planted")

    assert next_decoder in codecs.decoder_for(syntax).available_plugins
    monkeypatch.setitem(codecs.CODECS, syntax, fails)
    pixels = breast()
    np.testing.assert_array_equal(read_stored_pixels(write_dicom(tmp_path / "a.dcm", pixels, syntax=syntax)), pixels)
    assert asked


def test_lack_of_memory_is_no_fault_of_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_dicom(tmp_path / "a.dcm", breast(), syntax=uid.JPEGLosslessSV1)

    def no_memory(*_: object, **__: object) -> None:
        raise MemoryError

    monkeypatch.setattr(codecs, "decode_alone", no_memory)
    with pytest.raises(MemoryError, match=r"a\.dcm: decoding needs more memory than is free"):
        decode(read_file(path), path)


def test_pydicoms_own_decoders_are_left_alone() -> None:
    assert "imagecodecs" not in pydicom.pixels.get_decoder(uid.JPEG2000Lossless).available_plugins


@pytest.mark.parametrize("share", [0.3, 0.7, 0.95, 0.999])
@pytest.mark.parametrize(
    "syntax", [uid.ExplicitVRLittleEndian, uid.DeflatedExplicitVRLittleEndian, uid.RLELossless, *ENCODERS]
)
def test_a_file_that_is_cut_off_is_refused(tmp_path: Path, syntax: str, share: float) -> None:
    bits = 12 if syntax in (uid.JPEGExtended12Bit,) else 16
    path = write_dicom(tmp_path / "a.dcm", breast(), syntax=syntax, BitsStored=bits)
    whole = path.read_bytes()
    path.write_bytes(whole[: int(len(whole) * share)])
    with pytest.raises(UnreadableDicom, match=r"a\.dcm"):
        read_stored_pixels(path)


@pytest.mark.parametrize("share", [0.3, 0.7, 0.95, 0.99])
@pytest.mark.parametrize("syntax", [uid.RLELossless, *ENCODERS])
def test_a_codestream_that_is_cut_off_is_refused(tmp_path: Path, syntax: str, share: float) -> None:
    bits = 12 if syntax in (uid.JPEGExtended12Bit,) else 16
    path = write_dicom(tmp_path / "a.dcm", breast(), syntax=syntax, BitsStored=bits)
    dataset = pydicom.dcmread(path)
    frame = next(generate_frames(dataset.PixelData, number_of_frames=1))
    dataset.PixelData = encapsulate([frame.rstrip(b"\0")[: int(len(frame) * share)]])
    dataset["PixelData"].is_undefined_length = True
    dataset.save_as(path)
    with pytest.raises(UnreadableDicom, match=r"a\.dcm"):
        read_stored_pixels(path)


ABSURD = [
    {"Rows": 65535, "Columns": 65535},
    {"Rows": 65535, "Columns": 3052, "NumberOfFrames": 2},
    {"NumberOfFrames": 2147483647},
    {"SamplesPerPixel": 65535, "Rows": 65535},
]


@pytest.mark.parametrize("tags", ABSURD)
@pytest.mark.parametrize("syntax", [uid.ExplicitVRLittleEndian, uid.JPEG2000Lossless])
def test_absurd_size_is_refused_before_memory_is_taken(tmp_path: Path, tags: dict, syntax: str) -> None:
    path = write_dicom(tmp_path / "a.dcm", breast(), syntax=syntax, **tags)
    tracemalloc.start()
    with pytest.raises(
        UnreadableDicom, match=r"a\.dcm: the header declares .* pixels, more than the limit of 200000000"
    ):
        read_stored_pixels(path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 5_000_000


def test_the_limit_can_be_set(tmp_path: Path) -> None:
    path = write_dicom(tmp_path / "a.dcm", breast(10, 10))
    assert read_stored_pixels(path, max_pixels=100).shape == (10, 10)
    with pytest.raises(UnreadableDicom, match=r"limit of 99 \(raise it with --pixels\.max_pixels"):
        read_stored_pixels(path, max_pixels=99)


@pytest.mark.parametrize("syntax", [uid.JPEG2000Lossless, uid.JPEGLSLossless, uid.JPEGLosslessSV1, uid.HTJ2KLossless])
def test_a_codestream_larger_than_its_header_is_refused_before_it_is_decoded(tmp_path: Path, syntax: str) -> None:
    bomb = ENCODERS[syntax](np.zeros((6000, 6000), "u2"), 16)
    path = write_dicom(tmp_path / "a.dcm", breast(), syntax=syntax, frames=[bomb])
    tracemalloc.start()
    with pytest.raises(
        UnreadableDicom, match=r"codestream declares \(6000, 6000\) rows and columns, the header \(96, 64\)"
    ):
        read_stored_pixels(path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 5_000_000 + 6 * len(bomb)


def test_a_deflate_bomb_is_refused(tmp_path: Path) -> None:
    path = write_dicom(tmp_path / "a.dcm", breast(), syntax=uid.DeflatedExplicitVRLittleEndian)
    whole = path.read_bytes()
    start = 132 + 12 + int.from_bytes(whole[140:144], "little")
    packer = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    zeros = bytes(1 << 20)
    bomb = b"".join(packer.compress(zeros) for _ in range(80)) + packer.flush()
    path.write_bytes(whole[:start] + bomb)
    with pytest.raises(UnreadableDicom, match="deflated data set grows beyond"):
        read_stored_pixels(path, max_pixels=1_000_000)


@pytest.mark.parametrize(
    ("content", "cause"),
    [
        (b"", "not a DICOM file"),
        (b"hello, this is no image\n" * 40, "not a DICOM file"),
        (bytes(5000), "not a DICOM file|failed"),
        (b"\0" * 128 + b"DICM", "holds no image"),
        (None, "cannot be opened"),
    ],
)
def test_what_is_not_dicom(tmp_path: Path, content: bytes | None, cause: str) -> None:
    path = tmp_path / "x.dcm"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(UnreadableDicom, match=cause):
        read_stored_pixels(path)
    with pytest.raises(UnreadableDicom, match="cannot be opened"):
        read_stored_pixels(tmp_path)


def test_wrong_header_values_are_named(tmp_path: Path) -> None:
    for tags, word in (
        ({"BitsAllocated": 13}, "decoding failed"),
        ({"Rows": None}, "Rows is missing"),
        ({"Rows": 97}, "decoding failed"),
        ({"Columns": 0}, "no pixels"),
    ):
        path = write_dicom(tmp_path / "a.dcm", breast(), **tags)
        with pytest.raises(UnreadableDicom, match=word):
            read_stored_pixels(path)


@pytest.mark.parametrize(
    ("words", "kind", "bits", "high_bit", "overlay", "expected", "codes"),
    [
        ([0, 4095], "u2", 12, 11, False, [0, 4095], []),
        ([0, 0xFFF0, 0x0010], "u2", 12, 15, False, [0, 4095, 1], ["high_bit_odd"]),  # values sit in the upper bits
        ([0, 4095], "u2", 12, 15, False, [0, 4095], ["high_bit_odd"]),  # tag wrong, values sit low
        ([0, 16383], "u2", 12, 11, False, [0, 16383], ["bits_stored_exceeded"]),
        ([0x1FFF, 0x1000], "u2", 12, 11, True, [4095, 0], []),  # an overlay plane in bit 12
        ([0x0FFF, 0x0800, 5], "i2", 12, 11, False, [-1, -2048, 5], []),  # sign bit not extended
        ([-1, -2048, 2047], "i2", 12, 11, False, [-1, -2048, 2047], []),
        ([-4000, 100], "i2", 12, 11, False, [-4000, 100], ["bits_stored_exceeded"]),
        ([0, 255], "u1", 8, 7, False, [0, 255], []),
        ([0, 255], "u1", 0, 7, False, [0, 255], ["bits_stored_exceeded"]),
    ],
)
def test_bits_of_a_word(words, kind, bits, high_bit, overlay, expected, codes) -> None:
    found, said = settle_bits(np.asarray(words, kind), bits_stored=bits, high_bit=high_bit, overlay_in_pixels=overlay)
    assert found.tolist() == expected
    assert said == codes


def test_an_overlay_outside_the_image_is_harmless_and_one_in_the_pixels_is_cut_off(tmp_path: Path) -> None:
    pixels = breast(top=4000)
    path = write_dicom(tmp_path / "a.dcm", pixels | np.uint16(0x8000), BitsStored=12)
    dataset = pydicom.dcmread(path)
    dataset.add_new(0x60000010, "US", 60000)
    dataset.add_new(0x60000011, "US", 60000)
    dataset.add_new(0x60000050, "SS", [-3000, -3000])
    dataset.add_new(0x60000100, "US", 16)
    dataset.add_new(0x60000102, "US", 15)
    dataset.save_as(path)
    np.testing.assert_array_equal(read_stored_pixels(path), pixels)


def test_no_word_on_the_terminal(
    tmp_path: Path, capfd: pytest.CaptureFixture, recwarn: pytest.WarningsRecorder, caplog: pytest.LogCaptureFixture
) -> None:
    for name in ("badVR.dcm", "MR_truncated.dcm"):
        with pytest.raises(UnreadableDicom):
            read_stored_pixels(OWN / name)
    read_stored_pixels(OWN / "MR_small_RLE.dcm")
    frame = imagecodecs.jpegls_encode(breast())
    frame = frame[:60] + bytes(len(frame) - 62) + frame[-2:]
    broken = write_dicom(tmp_path / "a.dcm", breast(), syntax=uid.JPEGLSLossless, frames=[frame])
    with pytest.raises(UnreadableDicom):
        read_stored_pixels(broken)
    assert capfd.readouterr() == ("", "")
    assert caplog.records == []
    assert len(recwarn) == 0


def test_random_damage_never_ends_in_another_exception(tmp_path: Path) -> None:
    rng = np.random.default_rng(20)
    path = tmp_path / "damaged.dcm"
    sources = [
        write_dicom(
            tmp_path / "raw.dcm", breast(40, 30), PixelSpacing=[0.1, 0.1], VOILUTSequence=[lut_item([1, 2], 0, 8)]
        ),
        write_dicom(tmp_path / "ls.dcm", breast(40, 30), syntax=uid.JPEGLSLossless),
        write_dicom(tmp_path / "j2k.dcm", breast(40, 30), syntax=uid.JPEG2000Lossless),
        write_dicom(tmp_path / "sv1.dcm", breast(40, 30), syntax=uid.JPEGLosslessSV1),
        OWN / "MR_small_RLE.dcm",
    ]
    from mammo_aln.dicom.read import read_image

    read = refused = 0
    for source in sources:
        whole = source.read_bytes()
        for _ in range(120):
            damaged = bytearray(whole if rng.random() < 0.7 else whole[: rng.integers(1, len(whole))])
            for _ in range(int(rng.integers(1, 6))):
                damaged[rng.integers(0, min(len(damaged), 1500))] = rng.integers(0, 256)
            path.write_bytes(damaged)
            try:
                assert read_image(path).pixels.size > 0
                read += 1
            except InputError as error:
                assert "\n" not in str(error)  # noqa: PT017
                refused += 1
    assert read > 50
    assert refused > 50


def test_jpeg_xl_of_another_size_is_refused(tmp_path: Path) -> None:
    source = imagecodecs.jpegxl_encode(np.zeros((50, 40), np.uint8), lossless=True)
    assert codecs.decode_jpeg_xl(source, (50, 40), np.uint8).max() == 0
    with pytest.raises(ValueError):
        codecs.decode_jpeg_xl(source, (51, 40), np.uint8)


def test_module_limit_is_the_setting() -> None:
    from mammo_aln.settings import PixelConfig

    assert PixelConfig().max_pixels == dicom.MAX_PIXELS


@pytest.mark.parametrize("dtype", ["u2", "i2"])
def test_a_jpeg_2000_frame_is_decoded_without_a_second_copy_of_its_data(tmp_path: Path, dtype: str) -> None:
    """The codec takes four images of memory by itself; pydicom's runner would hold the encoded frame twice."""
    pixels = breast(dtype=dtype) - (500 if dtype == "i2" else 0)
    path = write_dicom(tmp_path / "a.dcm", pixels.astype(dtype), syntax=uid.JPEG2000Lossless)
    dataset = read_file(path)
    stored, _ = decode(dataset, path)
    np.testing.assert_array_equal(stored, pixels)
    assert "PixelData" not in dataset
