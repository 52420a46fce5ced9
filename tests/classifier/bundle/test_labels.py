"""Labels: order, names, JSON."""

from pathlib import Path

import pytest

from classifier.bundle.labels import (
    BadClassMap,
    Labels,
    check_class_map_is_for_the_rest,
    match_classes,
    read_class_map,
)


def test_a_class_index_is_the_place_of_its_id_in_sorted_order() -> None:
    labels = Labels.from_ids(["n03", "n01", "n02", "n01"], {"n02": "tench"})

    assert labels.ids == ("n01", "n02", "n03")
    assert labels.names == ("n01", "tench", "n03")
    assert labels.index_of["n03"] == 2


def test_labels_survive_json() -> None:
    labels = Labels.from_ids(["b", "a"], {"a": "ä name"})

    assert Labels.from_json(labels.to_json()) == labels
    assert labels.to_json()[0] == {"index": 0, "id": "a", "name": "ä name"}


def test_classes_are_matched_by_id_then_by_name_then_as_chosen() -> None:
    a = Labels(("n1", "n2", "n3", "n4", "n5"), ("cat", "dog", "eel", "fox", "fox"))
    b = Labels(("n3", "0", "1", "2", "3"), ("Eel", "Cat ", "wolf", "fox", "gnu"))

    assert match_classes(a, b) == {"n3": "n3", "0": "n1"}
    assert match_classes(a, b, {"1": "n2", "3": "unknown"}) == {
        "1": "n2",
        "n3": "n3",
        "0": "n1",
    }
    # what ids and names match is not for the map
    assert match_classes(a, b, {"1": "n3", "0": "n5"}) == {"n3": "n3", "0": "n1"}


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (("n2", "1"), ""),
        (("n3", "n3"), ""),  # the same as their ids say
        (("n1", "0"), ""),  # the same as their names say
        (("unknown", "3"), ""),
        (("n3", "1"), "line n3,1 .* by id already, .*'n3' with .*'n3'.* a prefix of"),
        (("n2", "n3"), "line n2,n3 .* by id already, .*'n3' with .*'n3'"),
        (("n1", "1"), "line n1,1 .* by name already, .*'n1' with .*'0'.*another name"),
        (("unknown", "0"), "line unknown,0 .* by name already, .*'n1' with .*'0'"),
    ],
)
def test_a_class_map_is_for_classes_that_ids_and_names_do_not_match(
    line: tuple[str, str], message: str
) -> None:
    a = Labels(("n1", "n2", "n3", "n5"), ("cat", "dog", "eel", "fox"))
    b = Labels(("n3", "0", "1", "3"), ("Eel", "Cat ", "wolf", "gnu"))
    lines = [("n5", "3"), line] if line[1] != "3" else [line]
    if not message:
        check_class_map_is_for_the_rest(lines, a, b)
        return

    with pytest.raises(BadClassMap, match=message):
        check_class_map_is_for_the_rest(lines, a, b)


def test_a_class_map_is_two_columns_of_ids(tmp_path: Path) -> None:
    file = tmp_path / "map.csv"
    file.write_text("a_id,b_id\nn1,0\n\nn2,'=1\n")
    assert read_class_map(file) == (("n1", "0"), ("n2", "=1"))

    for text, fault in (
        ("", "must have the columns a_id,b_id"),
        ("n1,0\n", "must have the columns a_id,b_id"),
        ("a_id,b_id\nn1\n", "must have the columns a_id,b_id"),
        ("a_id,b_id\nn1,0\nn1,1\n", "'n1' stands twice"),
    ):
        file.write_text(text)
        with pytest.raises(BadClassMap, match=fault):
            read_class_map(file)
    with pytest.raises(BadClassMap, match="cannot be read: No such file"):
        read_class_map(tmp_path / "none.csv")
