"""The runner of the benchmarks: each name is a function whose parameters are options; sections take their place."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path

import numpy as np
import pytest
from jsonargparse import ArgumentParser

from benchmarks import known_crops
from benchmarks.__main__ import BENCHMARKS, main, purpose
from benchmarks.page import Section, replace_section, table
from benchmarks.trainings import auc_by_probability


@pytest.mark.parametrize("name", BENCHMARKS)
def test_each_name_is_a_function_with_defaults_that_gives_a_section(name: str) -> None:
    module, _, function = BENCHMARKS[name].rpartition(".")
    bench = getattr(import_module(f"benchmarks.{module}"), function)
    parser = ArgumentParser()
    parser.add_function_arguments(bench)
    parser.parse_args([])
    assert bench.__annotations__["return"] == Section.__name__
    assert purpose(name).endswith(".")


def test_the_auc_by_true_probabilities_counts_pairs_as_a_loop_does() -> None:
    rng = np.random.default_rng(0)
    scores, probability = rng.integers(0, 8, 40).astype(float), rng.random(40)
    ordered = pairs = 0.0
    for one in range(40):
        for other in set(range(40)) - {one}:
            chance = probability[one] * (1.0 - probability[other])
            pairs += chance
            ordered += chance * (0.5 if scores[one] == scores[other] else float(scores[one] > scores[other]))
    assert auc_by_probability(scores, probability) == pytest.approx(ordered / pairs, abs=1e-12)


def test_the_auc_by_true_probabilities_is_what_labels_give_where_they_are_certain() -> None:
    assert auc_by_probability([0.1, 0.4, 0.35, 0.8], [0.0, 0.0, 1.0, 1.0]) == pytest.approx(0.75)


def test_an_unknown_name_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["nosuch"]) == 2
    assert "no benchmark is named nosuch" in capsys.readouterr().err


def test_the_list_names_each(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 0
    listed = capsys.readouterr().out
    assert all(f"  {name} " in listed for name in BENCHMARKS)


def test_a_section_is_replaced_where_it_stands(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    for title, text in (("One", "first"), ("Two", "second"), ("One", "third")):
        replace_section(page, title, text)
    assert page.read_text() == "# Benchmarks\n\n## One\n\nthird\n\n## Two\n\nsecond\n"


@pytest.mark.slow
def test_the_start_of_known_cells_is_measured_up_to_their_first_batch(tmp_path: Path) -> None:
    section = known_crops.start(images=80, cells=2, processes=1, out=tmp_path / "known")
    assert "80 images of 20 patients" in section.about
    rows = [line.split(" | ") for line in section.lines if "process: " in line]
    assert len(rows) == 2 * 2 * 4  # first and later process, two clocks: tables, first cell, both, later cells
    assert sorted(path.suffix for path in (tmp_path / "known" / "store" / "frozen").iterdir()) == [".crops", ".tables"]
    assert not list((tmp_path / "known").glob("process-*/*/checkpoints"))  # none trained


def test_a_table_is_markdown() -> None:
    assert table(["a", "b"], [[1, "x"]]) == ["| a | b |", "| --- | --- |", "| 1 | x |"]
