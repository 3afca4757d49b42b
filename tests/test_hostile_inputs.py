"""A short, seeded run of the fuzzing benchmark: whatever the bytes, a reader reads or refuses in words."""

from __future__ import annotations

from pathlib import Path
from random import Random

import pytest

from benchmarks.hostile.fuzz import content_of, fuzz_target
from benchmarks.hostile.mutations import MUTATIONS, mutated
from benchmarks.hostile.seeds import targets_of
from benchmarks.hostile.targets import Target
from mammo_aln.errors import InputError


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_readers_read_or_refuse_whatever_the_bytes(tmp_path: Path) -> None:
    targets = targets_of(tmp_path, Path(__file__).resolve().parents[1].parent / "shared")
    outcomes = {target.name: fuzz_target(target, range(60), 1, tmp_path, tmp_path / "kept") for target in targets}
    wrong = {name: one.offenders for name, one in outcomes.items() if one.offenders and name != "pixels"}
    assert not wrong
    assert all(one.counts.total() == 60 for one in outcomes.values())


def test_what_a_reader_does_is_told_apart(tmp_path: Path) -> None:
    sound = tmp_path / "sound.bin"
    sound.write_bytes(bytes(range(256)))

    def reader(path: Path) -> None:
        content = path.read_bytes()
        if not content:
            raise InputError("cut off")
        if sum(content) % 2:
            raise ValueError("odd")

    target = Target("odd", [sound], reader)
    outcome = fuzz_target(target, range(40), 0, tmp_path, tmp_path / "kept")
    contents = [content_of(target, number, 0)[1] for number in range(40)]
    assert outcome.counts["refused"] == contents.count(b"")
    assert sorted(outcome.offenders) == [number for number, content in enumerate(contents) if sum(content) % 2]
    assert len(list((tmp_path / "kept").glob("*.bin"))) == len(outcome.offenders) > 0


def test_mutations_are_those_of_their_seed_and_change_something() -> None:
    seeds = [bytes(range(256)) * 20]
    assert mutated(Random(1), seeds) == mutated(Random(1), seeds)
    for mutation in MUTATIONS:
        changed = [bytes(mutation(Random(draw), bytearray(seeds[0]), seeds)) != seeds[0] for draw in range(10)]
        assert any(changed), mutation.__name__
