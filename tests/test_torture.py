"""Faults that are injected into commands; the commands run again must give the undisturbed result."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks.hostile.torture import EQUAL, REFUSED, Undisturbed, differences, judged, torture
from benchmarks.hostile.torture_child import Ended
from benchmarks.hostile.torture_compare import litter, meanings


def ended(code: int | None, said: str = "") -> Ended:
    return Ended(code, said, "", 1.0, 1.0)


def test_meanings_are_of_contents_not_of_times(tmp_path: Path) -> None:
    contents = {
        "one": ("2026-01-01", 0.5, "3.0"),
        "two": ("2027-01-01", 0.5, "4.0"),
        "three": ("2026-01-01", 0.6, "3.0"),
    }
    for name, (time, loss, seconds) in contents.items():
        (tmp_path / name).mkdir()
        (tmp_path / name / "state.json").write_text(json.dumps({"started": time, "loss": loss}))
        (tmp_path / name / "metrics.csv").write_text(f"loss,train_s\n{loss},{seconds}\n")
        (tmp_path / name / ".state.json.ab12.part").write_text("cut")
    one, two, three = (meanings(tmp_path / name, {}) for name in contents)
    assert one == two
    assert {name for name in one if one[name] != three[name]} == {"state.json", "metrics.csv"}
    assert litter(tmp_path / "one") == 1


def test_an_end_is_judged_by_what_stands_there() -> None:
    sound = Undisturbed((), {"old": {"1"}, "new": {"2", "3"}}, 0, 1.0, 1, 1, frozenset({"old"}))
    assert differences({"old": "1", "new": "3"}, sound) == ""
    lost, wrong, kept = (differences(files, sound) for files in ({"new": "2"}, {"old": "1", "new": "4"}, {"old": "1"}))
    assert judged([ended(-9), ended(0)], "", "", sound)[0] == EQUAL
    assert judged([ended(-9), ended(2)], "", lost, sound)[0] == "LOST"
    assert judged([ended(-9), ended(0)], "", wrong, sound)[0] == "WRONG"
    assert judged([ended(-9), ended(2, "make room")], "", kept, sound)[0] == REFUSED
    assert judged([ended(0), ended(0)], "others: new", "", sound)[0] == "WRONG"
    assert judged([ended(None), ended(0)], "", "", sound)[0] == "hang"
    assert judged([ended(1, "Traceback (most recent call last)"), ended(0)], "", "", sound)[0] == "traceback"


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_faults_leave_nothing_lost_and_nothing_wrong(tmp_path: Path) -> None:
    record = tmp_path / "record.jsonl"
    torture(30, seed=3, only=("index", "init", "regions", "runs", "scrub"), record=record)
    verdicts = [json.loads(line) for line in record.read_text().splitlines()]
    assert len(verdicts) == 30
    assert [each for each in verdicts if each["verdict"] not in (EQUAL, REFUSED)] == []
