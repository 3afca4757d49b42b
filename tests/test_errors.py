"""Faults of tables in words: each one is listed, many like ones share a line."""

from __future__ import annotations

from mammo_aln.errors import BadCell, fault_lines


def empty(row: int) -> BadCell:
    return BadCell("patients.csv", row, "center", "", "a value; the cell is empty")


def test_like_faults_share_a_line_with_the_ranges_of_their_rows() -> None:
    cells = [*map(empty, [*range(2, 59), 70]), BadCell("patients.csv", 3, "aln_status", "9", "0, 1 or empty")]
    assert fault_lines(cells) == [
        "patients.csv: center is empty in 58 rows (2-58, 70): expected a value",
        "patients.csv row 3, aln_status = '9': expected 0, 1 or empty",
    ]


def test_a_few_like_faults_stay_apart_and_in_order() -> None:
    cells = [empty(2), BadCell("patients.csv", 2, "side", "X", "one of L, R"), empty(3)]
    assert fault_lines(cells) == [str(cell) for cell in cells]
    missing = [BadCell("patients.csv", None, name, "missing", "this column in the table") for name in "abcdef"]
    assert fault_lines(missing) == [str(cell) for cell in missing]


def test_like_faults_of_several_values_name_row_and_value() -> None:
    cells = [BadCell("patients.csv", row, "age", f"{row},5", "a finite number or empty") for row in (4, 5, 9, 10)]
    assert fault_lines(cells) == [
        "patients.csv: age in 4 rows (4-5, 9-10): expected a finite number or empty; "
        "row 4 = '4,5', row 5 = '5,5', row 9 = '9,5', row 10 = '10,5'"
    ]
    (line,) = fault_lines([BadCell("f", row, "c", str(row), "x") for row in range(2, 3002)])
    assert "(2-3001)" in line
    assert len(line) < 600
