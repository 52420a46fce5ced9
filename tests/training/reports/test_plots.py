"""The pictures of a run and the tables behind them, for runs of many shapes."""

import csv
from pathlib import Path

import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image

from classifier.bundle.labels import Labels
from classifier.console.text import csv_text
from tests.training.histories import epoch_record
from training.data.decoded_images import DecodedPart
from training.evaluation.epoch import History
from training.reports.curve_plots import churn, churn_figure, shortened
from training.reports.plots import draw_pictures, hardest
from training.reports.tables import (
    class_results,
    confused_pairs,
    write_confused_pairs,
    write_per_class,
)

PICTURES = {
    "epochs.png",
    "running.png",
    "churn.png",
    "per_class.png",
    "confused_pairs.png",
    "confusion_matrix.png",
    "hardest_images.png",
}
TABLES = {"per_class.csv", "confused_pairs.csv", "confusion_matrix.csv"}


def _labels(classes: int) -> Labels:
    """The last is named in a script that the font lacks, and as a formula is begun."""
    ids = tuple(f"{index:03}" for index in range(classes))
    return Labels(ids, (*(f"class {id_}" for id_ in ids[:-1]), "鶏 costs $1 or $"))


def _part(
    targets: list[int] | np.ndarray[tuple[int], np.dtype[np.int64]],
) -> DecodedPart:
    generator = np.random.default_rng(0)
    count = len(targets)
    return DecodedPart(
        tuple(f"folder/{place}.png" for place in range(count)),
        generator.integers(0, 256, (count, 8, 8, 3), np.uint8),
        np.asarray(targets, np.int64),
        digest="0",
    )


def _history(epochs: int, val: DecodedPart, *, classes: int) -> History:
    generator = np.random.default_rng(1)
    history = History(
        [
            epoch_record(
                epoch,
                train_top1=epoch / (epochs + 1),
                val_top1=0.5 * epoch / epochs,
                val_loss=3.0 - epoch / epochs,
                running=(0.1, 0.3, 0.2),
            )
            for epoch in range(1, epochs + 1)
        ]
    )
    for _ in range(epochs):
        history.first_answers.append(generator.integers(0, classes, len(val)))
        history.target_probabilities.append(
            generator.random(len(val), dtype=np.float32)
        )
    return history


def _rows(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def _texts(figure: Figure) -> list[str]:
    return [text.get_text() for axes in figure.axes for text in axes.texts]


@pytest.mark.parametrize(
    ("classes", "images", "epochs"),
    [(3, 1, 1), (3, 12, 2), (10, 60, 16), (200, 400, 60)],
    ids=["one-image", "three-classes", "digits", "tiny-imagenet"],
)
def test_a_run_of_any_shape_has_its_pictures(
    tmp_path: Path, classes: int, images: int, epochs: int
) -> None:
    val = _part([place % classes for place in range(images)])
    history = _history(epochs, val, classes=classes)

    draw_pictures(history, tmp_path / "pictures", labels=_labels(classes), val=val)

    assert {
        path.name for path in (tmp_path / "pictures").iterdir()
    } == PICTURES | TABLES
    for name in PICTURES:
        with Image.open(tmp_path / "pictures" / name) as picture:
            assert picture.width == 1040  # WIDTH times DPI
            assert 100 < picture.height < 3_000


def test_a_run_that_is_right_everywhere_has_its_pictures(tmp_path: Path) -> None:
    val = _part([0, 1, 2])
    record = epoch_record(1, train_top1=1.0, val_top1=1.0, val_loss=0.0)
    history = History([record], [val.targets], [np.ones(3, np.float32)])

    draw_pictures(history, tmp_path, labels=_labels(3), val=val)

    assert {path.name for path in tmp_path.iterdir()} == PICTURES | TABLES
    assert _rows(tmp_path / "confused_pairs.csv") == []


def test_the_classes_are_those_of_the_best_epoch(tmp_path: Path) -> None:
    val = _part([0, 0, 1, 2])
    history = _history(3, val, classes=3)  # the last epoch is the best
    history.first_answers[-1] = np.array([0, 1, 0, 2])

    draw_pictures(history, tmp_path, labels=_labels(3), val=val)

    rows = _rows(tmp_path / "per_class.csv")
    assert [row["right"] for row in rows] == ["1", "0", "1"]
    assert rows[0] == {
        "index": "0",
        "id": "000",
        "name": "class 000",
        "images": "2",
        "right": "1",
        "top1_accuracy": "0.5000",
        "answered": "2",
        "precision": "0.5000",
        "recall": "0.5000",
        "f1": "0.5000",
    }
    pairs = _rows(tmp_path / "confused_pairs.csv")
    assert [(row["truth"], row["answer"]) for row in pairs] == [
        ("class 000", "class 001"),
        ("class 001", "class 000"),
    ]
    assert [(row["images"], row["of"], row["both_ways"]) for row in pairs] == [
        ("1", "2", "2"),
        ("1", "1", "2"),
    ]


def test_a_pair_counts_both_ways_and_names_the_more_frequent_first() -> None:
    targets = np.array([0, 0, 0, 1, 1, 1, 2, 2])
    answers = np.array([1, 0, 0, 0, 0, 1, 2, 0])

    pairs = confused_pairs(targets, answers)

    assert [(pair.there.truth, pair.back.truth) for pair in pairs] == [(1, 0), (2, 0)]
    assert [pair.images for pair in pairs] == [3, 1]
    assert (pairs[0].there.images, pairs[0].there.of) == (2, 3)
    assert pairs[1].back.images == 0


def test_a_class_without_images_has_no_result() -> None:
    results = class_results(np.array([0, 2, 2]), np.array([1, 2, 0]))

    assert [(r.index, r.images, r.right) for r in results] == [(0, 1, 0), (2, 2, 1)]


def test_churn_is_the_share_of_answers_that_differ() -> None:
    answers = [np.array([0, 1, 2, 3]), np.array([0, 1, 2, 0]), np.array([1, 1, 1, 0])]

    shares = churn(answers)

    assert shares.tolist() == [[0, 0.25, 0.75], [0.25, 0, 0.5], [0.75, 0.5, 0]]


def test_a_matrix_of_few_epochs_has_its_numbers_written_in() -> None:
    val = _part([0, 1, 2, 0])
    few, many = _history(3, val, classes=3), _history(25, val, classes=3)
    few.first_answers[:] = [np.array([0, 0, 0, place]) for place in (0, 1, 1)]

    numbers = _texts(churn_figure(few))

    assert numbers.count("25") == 4
    assert numbers.count("0") == 2
    assert " 50.0%" in numbers
    assert _texts(churn_figure(many)) == []


def test_the_hardest_images_come_in_the_order_of_their_probability() -> None:
    probabilities = np.array([0.5, 0.1, 0.9, 0.1], np.float32)

    assert hardest(probabilities, count=3).tolist() == [1, 3, 0]


def test_a_long_name_is_cut_and_no_formula() -> None:
    assert shortened("golden retriever", 9) == "golden r…"
    assert shortened("$5 $6", 9) == r"\$5 \$6"
    assert shortened("\x1b[2J\n\u202ex", 20) == r"\x1b[2J\n\u202ex"


def test_a_spreadsheet_has_nothing_to_run(tmp_path: Path) -> None:
    names = ("=cmd|' /C calc'!A0", "-1")
    labels = Labels(names, names)
    targets, answers = np.array([0, 1]), np.array([1, 0])

    pairs = confused_pairs(targets, answers)
    write_per_class(tmp_path / "a.csv", class_results(targets, answers), labels)
    write_confused_pairs(tmp_path / "b.csv", pairs, labels)

    for file, columns in (("a.csv", ["name", "id"]), ("b.csv", ["truth", "answer_id"])):
        for row in _rows(tmp_path / file):
            for column in columns:
                assert row[column].startswith("'")
                assert csv_text(row[column]) in names
