"""Faults of tables in words: each one is listed, many like ones share a line."""

from __future__ import annotations

from mammo_aln.errors import BadCell, fault_lines, message_text


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


def test_many_faults_make_a_short_message() -> None:
    different = [BadCell("regions.csv", row, f"c{row % 30_000}", "x" * 100, "a number") for row in range(60_000)]
    like = [BadCell("regions.csv", 2 * row, "x_min", f"{row}", "a number") for row in range(60_000)]
    for cells in (different, like):
        lines = fault_lines(cells)
        assert sum(map(len, lines)) < 200_000
        assert "60000" in lines[0] or "further faults" in lines[-1]


def test_a_long_value_is_shortened_and_a_long_message_keeps_its_ends() -> None:
    assert len(str(BadCell("cohort.yaml", None, "name", "y" * 10**6, "text"))) < 300
    text = message_text("begin" + "x" * 10**6 + "end")
    assert len(text) < 60_000
    assert text.startswith("begin")
    assert text.endswith("end")
    assert message_text("a\x1b[2Jb\0c\nd\u202e") == "a\\x1b[2Jb\\x00c\nd\\u202e"
