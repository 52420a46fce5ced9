"""What a table of accuracies says about its results."""

from benchmarks.accuracy import origins


def test_a_table_tells_who_made_it_where_that_was_not_one_and_the_same() -> None:
    assert origins([("commit 1 on A",), ("commit 1 on A",)]) == ""
    assert origins([("commit 2 on A",), ("commit 1 on A", "commit 1 on B")]) == (
        " Made by commit 1 on A, and by commit 1 on B, and by commit 2 on A."
    )
