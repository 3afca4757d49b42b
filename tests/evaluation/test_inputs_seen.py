"""What `predict` counted of the inputs is laid out by split and centre, the first file's word before the second's."""

from __future__ import annotations

from mammo_aln.evaluation.inputs import merged_inputs, seen_inputs


def count(split: str, center: str, n: int, of: int, name: str = "primary", kind: str = "missing") -> dict[str, object]:
    return {"split": split, "center": center, "input": name, "kind": kind, "n": n, "of": of}


TRAINING = {"rows": 40, "present": {"primary": 38}, "ranges": {"age": {"low": 31.0, "median": 50.0, "high": 79.0}}}


def test_lines_add_up_by_split_and_centre_and_only_tests_are_warned_of() -> None:
    counts = [
        count("train", "a", 9, 10),
        count("external_test", "b", 3, 8),
        count("external_test", "c", 0, 2),
        count("external_test", "b", 4, 8, "clinical age", "outside_training"),
    ]
    seen = seen_inputs({"inputs": {"training": TRAINING, "counts": counts}})
    assert seen is not None
    assert seen.sizes == {"train": 10, "external test": 10, "external test, b": 8, "external test, c": 2}
    primary, age = seen.lines
    assert primary.groups == {"train": 9, "external test": 3, "external test, b": 3, "external test, c": 0}
    assert (primary.words, primary.training) == ("primary crop", "2 of 40")
    assert (age.words, age.training) == ("age: outside of training's range", "31 to 79")
    assert seen.warnings == (
        "external test: 3 of 10 patients were scored without primary crop.",
        "external test: 4 of 10 patients were scored with age outside of training's range.",
    )


def test_of_a_split_that_two_files_hold_the_first_is_believed() -> None:
    first, second = [count("val", "a", 1, 5)], [count("val", "a", 2, 5), count("train", "a", 0, 9)]
    merged = merged_inputs([{"inputs": {"training": TRAINING, "counts": first}}, {"inputs": {"counts": second}}, {}])
    assert merged == {"training": TRAINING, "counts": [*first, second[1]]}
    assert merged_inputs([{}, {"inputs": None}]) == {}
    assert seen_inputs({}) is None
