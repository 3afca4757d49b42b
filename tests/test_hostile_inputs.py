"""A short, seeded run of the fuzzing benchmark: whatever the bytes, a reader reads or refuses in words."""

from __future__ import annotations

import os
import time
from functools import partial
from pathlib import Path
from random import Random

import pytest

from benchmarks.hostile import readers, verbs
from benchmarks.hostile.mutations import MUTATIONS, mutated
from benchmarks.hostile.outcomes import SOUND, Outcome, Verdict, kept_input, kept_outcome
from benchmarks.hostile.seeds import targets_of
from benchmarks.hostile.targets import Died, Fault, Target
from benchmarks.hostile.worker import content_of, judged, read_numbers
from mammo_aln.errors import InputError

QUICK = {
    "boxes.csv": ("image_id,region,x_min,y_min,x_max,y_max\nA,primary,10,20,40,60\n", readers.region_file),
    "shapes.json": (
        '{"shapes": [{"label": "a", "points": [[1, 2], [3, 4]]}], "imagePath": "a.png"}',
        readers.region_file,
    ),
    "A.xml": (
        "<annotation><filename>A.png</filename><object><name>a</name></object></annotation>",
        readers.region_file,
    ),
    "grid.yaml": ("grid:\n  crop.strategy: [lesion_box, fixed_5cm]\nseeds: 2\n", readers.sweep_file),
    "features.csv": ("patient_id,radiomics_a,deep_1\np0,1.5,2\np1,2.5,3\n", readers.features),
    "scores.csv": ("patient_id,center,split,aln_status,score\np0,a,test,0,0.2\np1,a,test,1,0.7\n", readers.predictions),
    "lines.jsonl": ('{"kind": "scored", "time": "t", "run_id": "r"}\n', verbs.ledger),
    "answer": ("--b0\r\nContent-Type: application/dicom\r\n\r\nDICM\r\n--b0--\r\n", readers.answer),
}
"""Sound files small enough for thousands of mutations in a second, and who reads them."""


def test_readers_of_text_read_or_refuse_whatever_the_bytes(tmp_path: Path) -> None:
    for name, (text, read) in QUICK.items():
        (tmp_path / name).write_text(text)
        target = Target(name, [tmp_path / name], read)
        for number in range(12):
            path = tmp_path / f"input_{name}"
            path.write_bytes(content_of(target, 1, number)[1])
            verdict, words = judged(target, path)
            assert verdict in SOUND, f"{name} {number}: {words}"


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_readers_read_or_refuse_whatever_the_bytes(tmp_path: Path) -> None:
    targets = targets_of(tmp_path, Path(__file__).resolve().parents[1].parent / "shared")
    outcomes = {
        target.name: read_numbers(target, range(25), partial(content_of, target, 1), tmp_path) for target in targets
    }
    assert not {name: one.offenders for name, one in outcomes.items() if one.offenders}
    assert all(one.counts.total() == 25 for one in outcomes.values())


def test_what_a_reader_does_is_told_apart(tmp_path: Path) -> None:
    sound = tmp_path / "sound.bin"
    sound.write_bytes(bytes(range(256)))
    ends = (
        InputError("cut off"),
        Died("the decoder"),
        Fault("told"),
        ValueError("odd"),
        KeyboardInterrupt(),
        MemoryError(),
    )

    def reader(path: Path) -> None:
        kind = sum(path.read_bytes()) % 7
        if kind < 6:
            raise ends[kind]

    target = Target("odd", [sound], reader)
    outcome = read_numbers(target, range(60), partial(content_of, target, 0), tmp_path)
    kinds = [sum(content_of(target, 0, number)[1]) % 7 for number in range(60)]
    verdicts = (
        *(Verdict.REFUSED, Verdict.DIED, Verdict.FAULT, Verdict.FAULT, Verdict.OTHER, Verdict.MEMORY),
        Verdict.READ,
    )
    for verdict in set(verdicts):
        assert outcome.counts[verdict.value] == sum(verdicts[kind] is verdict for kind in kinds) > 0
    assert sorted(outcome.offenders) == [number for number, kind in enumerate(kinds) if kind in (2, 3, 4, 5)]
    assert sorted(outcome.died) == [number for number, kind in enumerate(kinds) if kind == 1]


def test_a_reader_that_ends_its_process_costs_one_input(tmp_path: Path) -> None:
    sound = tmp_path / "sound.bin"
    sound.write_bytes(bytes(range(256)))
    target = Target("dies", [sound], lambda path: os._exit(9) if sum(path.read_bytes()) % 4 == 0 else None)
    outcome = read_numbers(target, range(12), partial(content_of, target, 0), tmp_path)
    dead = [number for number in range(12) if sum(content_of(target, 0, number)[1]) % 4 == 0]
    assert sorted(outcome.offenders) == dead != []
    assert outcome.counts == {Verdict.CRASH.value: len(dead), Verdict.READ.value: 12 - len(dead)}


def test_an_outcome_is_kept_with_its_offenders(tmp_path: Path) -> None:
    sound = tmp_path / "sound.bin"
    sound.write_bytes(bytes(range(256)))

    def refuse(path: Path) -> None:
        raise ValueError("odd")

    target = Target("odd one", [sound], refuse)
    inputs = partial(content_of, target, 0)
    run = partial(read_numbers, target, inputs=inputs, folder=tmp_path)
    first = kept_outcome(tmp_path / "kept", target, range(3), 0, inputs, run)
    assert first.counts == {Verdict.FAULT.value: 3}
    assert [kept_input(tmp_path / "kept", target, n) for n in range(3)] == [
        (Path("sound.bin"), inputs(n)[1]) for n in range(3)
    ]

    def never(numbers: object) -> Outcome:
        raise AssertionError

    assert kept_outcome(tmp_path / "kept", target, range(3), 0, inputs, never) == first


def test_mutations_are_those_of_their_seed_and_change_something() -> None:
    seeds = [bytes(range(256)) * 20]
    assert mutated(Random(1), seeds) == mutated(Random(1), seeds)
    for mutation in MUTATIONS:
        changed = [bytes(mutation(Random(draw), bytearray(seeds[0]), seeds)) != seeds[0] for draw in range(10)]
        assert any(changed), mutation.__name__


def test_a_row_of_a_million_empty_cells_is_one_fault_at_once(tmp_path: Path) -> None:
    path = tmp_path / "features.csv"
    path.write_text("patient_id,radiomics_a\np0,1" + "," * 1_000_000 + "\np1,2\n")
    begun = time.monotonic()
    assert len(readers.features(path)) == 2  # type: ignore[arg-type]
    path.write_text("patient_id" + "," * 1_000_000 + "radiomics_a\n" + "p0,1\n" * 200)
    with pytest.raises(InputError, match="expected 2 cells"):
        readers.features(path)
    path.write_text("patient_id" + ",a" * 100_000 + "\np0,1\n")
    with pytest.raises(InputError, match="each column name once"):
        readers.features(path)
    assert time.monotonic() - begun < 20
