"""IBSI-1's digital phantom: every feature of very strong (10 or more groups), strong (6-9) and moderate consensus."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.ibsi import computed, consensus_rows, three_digits


@pytest.mark.parametrize("row", consensus_rows(), ids=lambda row: row["tag"])
def test_ibsi_digital_phantom(row: dict[str, str]) -> None:
    value = three_digits(computed()[row["tag"]])
    reference = float(row["reference value"])
    assert abs(value - reference) <= float(row["tolerance"]) + 1e-9 * abs(reference)


def test_the_table_is_whole(shared: Path) -> None:
    assert len(consensus_rows()) == 482
