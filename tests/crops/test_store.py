"""The store under kill -9, torn writes, two writers, growth, pickling; and that no work is done twice."""

from __future__ import annotations

import json
import os
import pickle
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from mammo_aln.cli import main
from mammo_aln.cohort.tables import read_cohort
from mammo_aln.crops.audit import audit_crops
from mammo_aln.crops.build import build_crops
from mammo_aln.crops.export import export_crops
from mammo_aln.crops.keys import CropJob
from mammo_aln.crops.parallel import make_crops
from mammo_aln.crops.proof.proof import write_proof
from mammo_aln.crops.provenance import fallback_ledger
from mammo_aln.crops.regions import plan_crops
from mammo_aln.crops.requests import linked_groups
from mammo_aln.crops.store.records import ContentRecord
from mammo_aln.crops.store.store import CropStore, SegmentWriter
from mammo_aln.errors import CheckFailed, InputError
from mammo_aln.settings import CropConfig, PixelConfig
from tests.support.caged import in_the_kept_process, unable_to_write
from tests.support.crop_cohort import image, mammogram, patient, small_cohort, write_image, write_tables
from tests.support.crop_records import crop_record, in_surround

SMALL = CropConfig(size_px=32, auxiliary=())
ALL = CropConfig(strategy="all", size_px=32, auxiliary=("peritumoral",))


def crop_of(number: int, side: int = 16) -> np.ndarray:
    return np.random.default_rng(number).integers(0, 65536, (side, side), dtype=np.uint16)


def keys_in_journals(store: Path) -> list[str]:
    found = []
    for journal in (store / "segments").glob("*.jsonl"):
        for line in journal.read_bytes().splitlines(keepends=True):
            if line.endswith(b"}\n"):
                record = json.loads(line)["record"]
                found += [record["key"]] if record["kind"] == "crop" else []
    return found


def test_what_is_written_is_read(tmp_path):
    writer = SegmentWriter(tmp_path)
    writer.append([ContentRecord("a", "f00")], [(crop_record("b", 16), in_surround(crop_of(1)))])
    store = CropStore(tmp_path)
    np.testing.assert_array_equal(store.read("b"), crop_of(1))
    assert store.content("a").sha256 == "f00"
    assert store.is_intact("b")
    assert "c" not in store
    with pytest.raises(KeyError):
        store.read("a")
    writer.append([], [(crop_record("c", 64), in_surround(crop_of(2, side=64)))])
    assert "c" not in store
    store.refresh()
    np.testing.assert_array_equal(store.read("c"), crop_of(2, side=64))
    np.testing.assert_array_equal(store.read("b"), crop_of(1))
    copied = pickle.loads(pickle.dumps(store))
    np.testing.assert_array_equal(copied.read("c"), crop_of(2, side=64))
    assert len(pickle.dumps(store)) < 1000


def test_a_crop_lies_in_the_middle_of_its_surround(tmp_path):
    block = crop_of(3, side=9 + 2 * 3)
    SegmentWriter(tmp_path).append([], [(crop_record("a", 9), block)])
    store = CropStore(tmp_path)
    np.testing.assert_array_equal(store.read_surround("a"), block)
    np.testing.assert_array_equal(store.read("a"), block[3:-3, 3:-3])
    np.testing.assert_allclose(store.read_values("a"), block[3:-3, 3:-3] / 65535, atol=1e-7)
    with pytest.raises(ValueError, match=r"\(9, 9\) pixels for a crop of 9 and 3 around it"):
        SegmentWriter(tmp_path).append([], [(crop_record("b", 9), crop_of(3, side=9))])


def test_damage_in_the_surround_is_seen(tmp_path):
    SegmentWriter(tmp_path).append([], [(crop_record("a", 16), in_surround(crop_of(1)))])
    pixels = next((tmp_path / "segments").glob("*.u16"))
    damaged = bytearray(pixels.read_bytes())
    damaged[0] ^= 1
    pixels.write_bytes(bytes(damaged))
    assert not CropStore(tmp_path).is_intact("a")


@pytest.mark.parametrize("left", [None, 0, 100])
def test_pixels_that_are_cut_under_an_open_reader_are_refused_in_words(tmp_path, left):
    SegmentWriter(tmp_path).append([], [(crop_record("a", 16), in_surround(crop_of(1)))])
    store = CropStore(tmp_path)
    pixels = next((tmp_path / "segments").glob("*.u16"))
    if left is None:
        pixels.unlink()
    else:
        os.truncate(pixels, left)
    with pytest.raises(InputError, match="cut or replaced while it was read"):
        store.read("a")
    assert not store.is_intact("a")


@pytest.mark.parametrize("cut_at", ["journal", "pixels", "flipped bit"])
def test_a_torn_record_does_not_exist_and_the_others_do(tmp_path, cut_at):
    writer = SegmentWriter(tmp_path)
    for number in range(3):
        writer.append([], [(crop_record(str(number), 16), in_surround(crop_of(number)))])
    writer.close()
    journal, pixels = (next((tmp_path / "segments").glob(f"*{end}")) for end in (".jsonl", ".u16"))
    if cut_at == "journal":
        journal.write_bytes(journal.read_bytes()[:-3])
    elif cut_at == "pixels":
        pixels.write_bytes(pixels.read_bytes()[:-3])
    else:
        text = bytearray(journal.read_bytes())
        text[-20] ^= 1
        journal.write_bytes(bytes(text))
    store = CropStore(tmp_path)
    assert [str(number) in store for number in range(3)] == [True, True, False]
    np.testing.assert_array_equal(store.read("1"), crop_of(1))


WRITE_FOREVER = """
import itertools, sys
import numpy as np
from mammo_aln.crops.store.records import ContentRecord
from mammo_aln.crops.store.store import SegmentWriter
from tests.support.crop_records import crop_record, in_surround
writer = SegmentWriter(sys.argv[1])
print("ready", flush=True)
for number in itertools.count(int(sys.argv[2])):
    crop = np.random.default_rng(number).integers(0, 65536, (64, 64), dtype=np.uint16)
    writer.append([ContentRecord(f"file {number}", "")], [(crop_record(str(number), 64), in_surround(crop))])
"""


def test_two_writers_killed_at_random_moments_leave_no_wrong_crop(tmp_path):
    moments = random.Random(0)
    for attempt in range(3):
        starts = (attempt * 1_000_000, attempt * 1_000_000 + 500_000)
        command = [sys.executable, "-c", WRITE_FOREVER, str(tmp_path)]
        running = [subprocess.Popen([*command, str(start)], stdout=subprocess.PIPE) for start in starts]
        for process in running:
            process.stdout.readline()
        time.sleep(moments.uniform(0.05, 0.4))
        for process in running:
            process.send_signal(signal.SIGKILL)
            process.wait()
        store = CropStore(tmp_path)
        keys = keys_in_journals(tmp_path)
        assert set(keys) == {key for key in keys if key in store}
        for key in keys:
            np.testing.assert_array_equal(store.read(key), crop_of(int(key), side=64))
    assert len(keys) > 10


BUILD = """
import sys
from mammo_aln.cohort.tables import read_cohort
from mammo_aln.settings import CropConfig, PixelConfig
from mammo_aln.crops.build import build_crops
cohort = read_cohort(sys.argv[1])
print("ready", flush=True)
build_crops(cohort, PixelConfig(), CropConfig(strategy="all", size_px=32, auxiliary=("peritumoral",)), workers=1)
print("done", flush=True)
"""


def test_a_builder_killed_again_and_again_loses_no_work(tmp_path):
    cohort = small_cohort(tmp_path / "c", 40)
    store, moments, before = tmp_path / "c" / ".crops", random.Random(1), 0
    for _ in range(3):
        process = subprocess.Popen([sys.executable, "-c", BUILD, str(cohort.root)], stdout=subprocess.PIPE)
        process.stdout.readline()
        time.sleep(moments.uniform(0.1, 0.35))
        process.send_signal(signal.SIGKILL)
        process.wait()
        now = len(keys_in_journals(store)) if store.exists() else 0
        assert now >= before
        before = now
    crops = build_crops(cohort, PixelConfig(), ALL, workers=1)
    assert len(crops.table) == 40 * 8
    keys = keys_in_journals(store)
    # Made once: a crop that stood before a kill was not made again.
    assert len(keys) == len(set(keys)) == crops.table["key"].nunique()
    assert audit_crops(cohort, crops.job, share=1.0, workers=1) == len(keys)


def test_two_builders_on_one_store(tmp_path):
    cohort = small_cohort(tmp_path / "c", 12)
    command = [sys.executable, "-c", BUILD, str(cohort.root)]
    running = [subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) for _ in range(2)]
    for process in running:
        out, err = process.communicate(timeout=120)
        assert out.endswith(b"done\n"), err.decode()
    assert audit_crops(cohort, CropJob(PixelConfig(), ALL, cohort.root / ".crops"), share=1.0, workers=1) == 12 * 8


def test_nothing_is_made_twice_and_paths_are_no_part_of_identity(tmp_path):
    cohort = small_cohort(tmp_path / "c", 3)
    first = build_crops(cohort, PixelConfig(), SMALL, store=tmp_path / "store")
    size = sum(file.stat().st_size for file in (tmp_path / "store" / "segments").glob("*.u16"))
    again = build_crops(cohort, PixelConfig(), SMALL, store=tmp_path / "store")
    assert again.table.equals(first.table)
    (tmp_path / "c").rename(tmp_path / "elsewhere")
    for file in (tmp_path / "elsewhere").glob("*.dcm"):
        os.utime(file, (1, 1))
    moved = build_crops(read_cohort(tmp_path / "elsewhere"), PixelConfig(), SMALL, store=tmp_path / "store")
    assert list(moved.table["key"]) == list(first.table["key"])
    assert sum(file.stat().st_size for file in (tmp_path / "store" / "segments").glob("*.u16")) == size


@pytest.mark.parametrize(
    ("pixels", "crop", "changes"),
    [
        (PixelConfig(), CropConfig(size_px=32, auxiliary=(), margin=0.4), False),  # no part of fixed_5cm
        (PixelConfig(max_pixels=10**8), SMALL, False),
        (PixelConfig(), CropConfig(size_px=32, auxiliary=(), size_mm=40.0), True),
        (PixelConfig(), CropConfig(size_px=64, auxiliary=()), True),
        (PixelConfig(voi="full_range"), SMALL, True),
    ],
)
def test_only_settings_that_shape_a_crop_enter_its_key(tmp_path, pixels, crop, changes):
    cohort = small_cohort(tmp_path / "c", 1)
    one = build_crops(cohort, PixelConfig(), SMALL)
    other = build_crops(cohort, pixels, crop)
    assert (one.table["key"][0] != other.table["key"][0]) == changes


def test_a_changed_file_is_cropped_anew_and_a_tampered_store_is_found_out(tmp_path):
    cohort = small_cohort(tmp_path / "c", 2)
    first = build_crops(cohort, PixelConfig(), SMALL)
    write_image(tmp_path / "c" / "i0.dcm", mammogram(300, 200, 0.4, 0.4, seed=99), ImagerPixelSpacing=[0.4, 0.4])
    second = build_crops(cohort, PixelConfig(), SMALL)
    assert first.table["key"][0] != second.table["key"][0]
    assert first.table["key"][1] == second.table["key"][1]
    assert audit_crops(cohort, second.job, share=0.01) == 1
    for pixels in (tmp_path / "c" / ".crops" / "segments").glob("*.u16"):
        with pixels.open("r+b") as file:
            file.seek(500)
            file.write(b"\x7f\x11")
    with pytest.raises(CheckFailed, match=r"i\d\.primary\.fixed_5cm: the stored pixels do not have the checksum"):
        audit_crops(cohort, second.job, share=1.0)
    assert main(["crop", str(tmp_path / "c"), "--crop.size_px=32", "--crop.auxiliary=[]", "--audit=1"]) == 1
    with pytest.raises(CheckFailed, match="do not have the checksum"):
        export_crops(second, tmp_path / "export")


def test_a_file_replaced_by_one_of_the_same_size_and_time_is_cropped_anew(tmp_path):
    cohort = small_cohort(tmp_path / "c", 1)
    file = tmp_path / "c" / "i0.dcm"
    first = build_crops(cohort, PixelConfig(), SMALL)
    before = file.stat()
    write_image(file, mammogram(300, 200, 0.4, 0.4, seed=99), ImagerPixelSpacing=[0.4, 0.4])
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert (file.stat().st_size, file.stat().st_mtime_ns) == (before.st_size, before.st_mtime_ns)
    assert first.table["key"][0] != build_crops(cohort, PixelConfig(), SMALL).table["key"][0]


@pytest.mark.parametrize("kind", [OSError, InputError])
def test_a_finished_store_may_be_read_only(tmp_path, monkeypatch, capsys, kind):
    cohort = small_cohort(tmp_path / "c", 1)
    first = build_crops(cohort, PixelConfig(), SMALL)

    def refuse(path, table):
        raise kind("Read-only file system")

    monkeypatch.setattr("mammo_aln.crops.build.write_csv", refuse)
    assert build_crops(cohort, PixelConfig(), SMALL).table.equals(first.table)
    assert "their list was not written: Read-only file system" in capsys.readouterr().err


def test_percentiles_in_the_wrong_order_are_refused(tmp_path):
    cohort = small_cohort(tmp_path / "c", 1)
    with pytest.raises(InputError, match="percentile_low = 99: expected less than"):
        build_crops(cohort, PixelConfig(percentile_low=99.0, percentile_high=1.0), SMALL)
    assert not (tmp_path / "c" / ".crops").exists()


def test_what_cannot_be_cropped_is_told_and_the_rest_goes_on(tmp_path):
    root = tmp_path / "c"
    small_cohort(root, 1)
    (root / "text.dcm").write_text("no DICOM at all")
    pixels = mammogram(300, 200, 0.4, 0.4)
    write_image(root / "bare.dcm", pixels, ImagerPixelSpacing=None)
    rows = [
        image("i0", "p0"),
        image("text", "p1"),
        image("gone", "p2"),
        image("bare", "p3"),
        image("far", "p4", path="i0.dcm"),
    ]
    regions = [(row["image_id"], "primary", 60, 130, 95, 165) for row in rows[:-1]] + [
        ("far", "primary", 900, 10, 950, 60)
    ]
    cohort = write_tables(root, [patient(f"p{number}") for number in range(5)], rows, regions)
    crops = build_crops(cohort, PixelConfig(), SMALL, workers=1)
    assert list(crops.table["image_id"]) == ["i0"]
    reasons = crops.exclusions.set_index("image_id")["reason"]
    assert reasons["text"] == "cannot be read: not a DICOM file (no 'DICM' marker, no image tags)"
    assert reasons["gone"] == "cannot be read: No such file or directory"
    assert fallback_ledger(crops)["a"] == {"images": 5, "no_spacing": 1, "uncropped": 4, "unreadable": 2} | {
        code: count for code, count in fallback_ledger(crops)["a"].items() if code.startswith(("no_voi", "spacing_"))
    }
    assert "spacing_mm" in reasons["bare"]
    assert "outside the image" in reasons["far"]
    assert (root / ".crops" / "exclusions.csv").read_text().count("\n") == 5
    only_bad = write_tables(root, [patient("p1")], [image("text", "p1")], [("text", "primary", 60, 130, 95, 165)])
    with pytest.raises(InputError, match="no crop can be made"):
        build_crops(only_bad, PixelConfig(), SMALL, workers=1)


def test_a_store_that_cannot_be_written_is_not_blamed_on_the_images(tmp_path):
    cohort = small_cohort(tmp_path / "c", 2)
    (tmp_path / "store").mkdir()
    (tmp_path / "store" / "segments").write_text("a file where the folder should be")
    with pytest.raises(InputError, match="crop store cannot be written"):
        build_crops(cohort, PixelConfig(), SMALL, store=tmp_path / "store", workers=1)


class Bomb:
    """Stands for a file that crashes its decoder: it ends the process that unpickles it."""

    image_id = "bad"
    path = Path("bad.dcm")
    requests = ()

    def __reduce__(self):
        return os._exit, (1,)


def test_a_crashing_decoder_costs_one_image(tmp_path):
    cohort = small_cohort(tmp_path / "c", 5)
    groups = linked_groups(plan_crops(cohort, SMALL).images)
    store = CropStore(tmp_path / "store")
    failures = make_crops([*groups[:2], (Bomb(),), *groups[2:]], CropJob(PixelConfig(), SMALL, store.path), store, 2)
    assert failures == {"bad": "the decoder crashed on this file"}
    assert len(set(keys_in_journals(tmp_path / "store"))) == 5


UNGUARDED = """
import sys
from mammo_aln.cohort.tables import read_cohort
from mammo_aln.settings import CropConfig, PixelConfig
from mammo_aln.crops.build import build_crops
print("begins", flush=True)
cohort = read_cohort(sys.argv[1])
crops = build_crops(cohort, PixelConfig(), CropConfig(size_px=32, auxiliary=()), workers=2, shard=(2, 2))
print(len(crops.table), flush=True)
"""


def test_processes_shards_and_a_script_without_main_guard(tmp_path):
    cohort = small_cohort(tmp_path / "c", 13)
    (tmp_path / "script.py").write_text(UNGUARDED)
    command = [sys.executable, str(tmp_path / "script.py"), str(cohort.root)]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert ended.stdout == "begins\n6\n", ended.stderr
    other = build_crops(cohort, PixelConfig(), SMALL, workers=1, shard=(1, 2))
    assert len(other.table) == 7
    whole = build_crops(cohort, PixelConfig(), SMALL, workers=1)
    assert len(whole.table) == len(set(keys_in_journals(tmp_path / "c" / ".crops"))) == 13
    with pytest.raises(InputError, match="3/2"):
        build_crops(cohort, PixelConfig(), SMALL, shard=(3, 2))


@pytest.mark.parametrize("count", [3, 6])
def test_files_that_moved_are_known_by_their_content(tmp_path, count):
    """Few images are made in this process, more in others; the others never read the store."""
    cohort = small_cohort(tmp_path / "c", count)
    before = build_crops(cohort, PixelConfig(), SMALL, store=tmp_path / "store", workers=2)
    records = keys_in_journals(tmp_path / "store")
    shutil.copytree(tmp_path / "c", tmp_path / "moved")
    moved = build_crops(read_cohort(tmp_path / "moved"), PixelConfig(), SMALL, store=tmp_path / "store", workers=2)
    assert list(moved.table["key"]) == list(before.table["key"])
    assert sorted(keys_in_journals(tmp_path / "store")) == sorted(records)


def test_a_copied_cohort_reads_a_store_that_cannot_be_written(tmp_path):
    cohort, store = small_cohort(tmp_path / "c", 3), tmp_path / "store"
    before = build_crops(cohort, PixelConfig(), SMALL, store=store)
    shutil.copytree(tmp_path / "c", tmp_path / "moved")
    with in_the_kept_process(unable_to_write):
        moved = build_crops(read_cohort(tmp_path / "moved"), PixelConfig(), SMALL, store=store)
        assert moved.table.equals(before.table)
        with pytest.raises(InputError, match="cannot be written"):
            build_crops(cohort, PixelConfig(), CropConfig(size_px=48, auxiliary=()), store=store)


def test_no_worker_outlives_a_killed_build(tmp_path):
    cohort = small_cohort(tmp_path / "c", 60)
    command = [sys.executable, "-m", "mammo_aln", "crop", str(cohort.root), "--workers=2", "--crop.size_px=32"]
    building = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    end = time.monotonic() + 60
    while not list((cohort.root / ".crops").glob("segments/*.jsonl")) and time.monotonic() < end:
        time.sleep(0.05)
    children = Path(f"/proc/{building.pid}/task/{building.pid}/children").read_text().split()
    assert len(children) >= 2
    building.kill()
    building.communicate(timeout=20)
    while any(Path(f"/proc/{child}").exists() for child in children) and time.monotonic() < end:
        time.sleep(0.05)
    assert not [child for child in children if Path(f"/proc/{child}").exists()]


def test_proof_leaves_the_list_of_exclusions_alone(tmp_path):
    cohort = small_cohort(tmp_path / "c", 2)
    (tmp_path / "c" / "i1.dcm").write_text("no DICOM")
    crops = build_crops(cohort, PixelConfig(), SMALL)
    told = (tmp_path / "c" / ".crops" / "exclusions.csv").read_text()
    write_proof(cohort, crops, tmp_path / "proof")
    assert "i1" in told
    assert (tmp_path / "c" / ".crops" / "exclusions.csv").read_text() == told


def test_the_whole_breast_needs_no_boxes_and_no_outcome(tmp_path):
    root = small_cohort(tmp_path / "c", 2).root
    (root / "regions.csv").unlink()
    patients = (root / "patients.csv").read_text().splitlines()
    place = patients[0].split(",").index("aln_status")
    (root / "patients.csv").write_text(
        "\n".join(",".join(cell for n, cell in enumerate(line.split(",")) if n != place) for line in patients) + "\n"
    )
    words = ["crop", str(root), "--crop.size_px=32", "--crop.strategy=whole_breast", "--crop.auxiliary=[]"]
    assert main([*words, "--max-pixels", "1000000"]) == 0
    assert len(set(keys_in_journals(root / ".crops"))) == 2


def test_images_that_no_crop_is_asked_of_are_counted(tmp_path, capsys):
    root = small_cohort(tmp_path / "c", 3).root
    regions = (root / "regions.csv").read_text().splitlines()
    (root / "regions.csv").write_text("\n".join(regions[:-2]) + "\n")
    assert main(["crop", str(root), "--crop.size_px=32", "--crop.auxiliary=[]"]) == 0
    assert "not used: 2 of the 3 images in images.csv" in capsys.readouterr().err
