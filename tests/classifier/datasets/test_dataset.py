"""Parts and their digest."""

import hashlib
from pathlib import Path

from classifier.datasets.dataset import Part, dataset_digest, part_digest


def _part(names: list[str], class_ids: list[str]) -> Part:
    return Part(tuple(names), tuple(class_ids), tuple(map(Path, names)))


def test_the_digest_is_of_sorted_lines_of_name_class_and_file_hash() -> None:
    digest = dataset_digest(["b.png", "a.png"], ["n2", "n1"], ["22", "11"])

    lines = b"a.png\tn1\t11\nb.png\tn2\t22\n"
    assert digest == hashlib.sha256(lines).hexdigest()


def test_the_digest_does_not_depend_on_folder_and_order(tmp_path: Path) -> None:
    parts = []
    for folder, order in (("one", ["a", "b"]), ("two", ["b", "a"])):
        (tmp_path / folder).mkdir()
        for name in order:
            (tmp_path / folder / name).write_text(name)
        files = tuple(tmp_path / folder / name for name in order)
        parts.append(Part(tuple(order), tuple(order), files))

    assert part_digest(parts[0]) == part_digest(parts[1])
    (tmp_path / "one" / "a").write_text("changed")
    assert part_digest(parts[0]) != part_digest(parts[1])


def test_the_first_of_each_class_are_by_sorted_name_and_keep_their_order() -> None:
    part = _part(["d", "c", "b", "a", "e"], ["x", "y", "x", "y", "x"])

    first = part.first_per_class(1)

    assert first.names == ("b", "a")
    assert first.class_ids == ("x", "y")
    assert len(part.first_per_class(9)) == 5
