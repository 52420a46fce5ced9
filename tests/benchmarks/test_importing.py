"""The table of imports."""

from benchmarks.importing import AGAIN, NEW, THEIRS, table_rows


def test_a_row_is_a_measure_with_median_least_and_most() -> None:
    rounds = [{NEW: 4.0, THEIRS: 9.0}, {NEW: 3.0, THEIRS: 8.0}, {NEW: 3.5, AGAIN: 2.0}]

    rows = table_rows("resnet18, 47 MB", rounds)

    assert rows == [
        ("resnet18, 47 MB", NEW, "3.50", "3.00 to 4.00", "at most 5"),
        ("resnet18, 47 MB", THEIRS, "8.50", "8.00 to 9.00", ""),
        ("resnet18, 47 MB", AGAIN, "2.00", "2.00 to 2.00", "at most 5"),
    ]
