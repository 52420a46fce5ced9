"""Files of predictions: both forms, refusals, and that reading undoes writing."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from classifier.bundle.predictions_file import (
    BadPredictions,
    Predictions,
    read_predictions_file,
    write_predictions_file,
)

NUMBERED = """image,truth,id_1,probability_1,id_2,probability_2
x.png,cat,dog,0.25,cat,0.75
y.png,dog,dog,0.5,,
"""

BY_CLASS = """image,cat,dog,eel
x.png,0.25,0.75,0.0
y.png,0.5,0.1,0.4
"""


def _read(folder: Path, text: str) -> Predictions:
    (folder / "p.csv").write_text(text)
    return read_predictions_file(folder / "p.csv")


def test_numbered_answers_are_sorted_by_their_probabilities(tmp_path: Path) -> None:
    found = _read(tmp_path, NUMBERED)

    assert found.names == ("x.png", "y.png")
    assert found.truths == ("cat", "dog")
    assert found.class_ids == ("cat", "dog")
    assert found.indices.tolist() == [[0, 1], [1, -1]]
    np.testing.assert_array_equal(found.probabilities, [[0.75, 0.25], [0.5, np.nan]])
    assert not found.has_every_class


def test_a_column_per_class_has_every_class_in_the_order_of_the_columns(
    tmp_path: Path,
) -> None:
    found = _read(tmp_path, BY_CLASS)

    assert found.truths is None
    assert found.class_ids == ("cat", "dog", "eel")
    assert found.indices.tolist() == [[1, 0, 2], [0, 2, 1]]
    assert found.has_every_class


@pytest.mark.parametrize("text", [NUMBERED, BY_CLASS])
@pytest.mark.parametrize("kind", ["csv", "parquet"])
def test_a_written_file_is_read_as_it_was(text: str, kind: str, tmp_path: Path) -> None:
    hostile = text.replace("x.png", "=1+1").replace("cat", "-7").replace("0.25", "0.1")
    found = _read(tmp_path, hostile)

    write_predictions_file(tmp_path / f"q.{kind}", found)

    again = read_predictions_file(tmp_path / f"q.{kind}")
    assert again.names == found.names == ("=1+1", "y.png")
    assert (again.truths, again.class_ids) == (found.truths, found.class_ids)
    np.testing.assert_array_equal(again.indices, found.indices)
    np.testing.assert_array_equal(again.probabilities, found.probabilities)


def test_a_parquet_file_of_pandas_may_have_numbers_as_ids(tmp_path: Path) -> None:
    columns = {"image": ["x"], "truth": [7], "id_1": [7], "probability_1": [0.5]}
    pd.DataFrame(columns).to_parquet(tmp_path / "p.parquet")

    found = read_predictions_file(tmp_path / "p.parquet")

    assert found.truths == found.class_ids == ("7",)


def test_an_index_of_pandas_is_no_class_and_does_no_harm(tmp_path: Path) -> None:
    answers = pd.DataFrame({"image": ["x"], "id_1": ["a"], "probability_1": [0.0]})
    answers.to_csv(tmp_path / "p.csv")
    classes = pd.DataFrame({"image": ["x"], "a": [0.5]}, index=[7])
    classes.to_parquet(tmp_path / "p.parquet")

    assert read_predictions_file(tmp_path / "p.csv").class_ids == ("a",)
    with pytest.raises(BadPredictions, match=r"'__index_level_0__'.* index=False"):
        read_predictions_file(tmp_path / "p.parquet")


def test_names_are_text_whatever_they_look_like(tmp_path: Path) -> None:
    text = "\ufeffimage,truth,01,NA\r\n007,01,0.5,0.5\r\nNA,NA,1,0\r\nnull,01,1,0\r\n"

    found = _read(tmp_path, text)

    assert found.names == ("007", "NA", "null")
    assert found.truths == ("01", "NA", "01")


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("", "no column 'image'"),
        ("picture;id_1;probability_1\nx;a;1\n", "no column 'image'"),
        ("image,truth\nx,a\n", "there are no probabilities"),
        ("image,id_1,probability_2\nx,a,1\n", "probability_1 is missing or stands"),
        ("image,id_1,id_3,probability_1,probability_3\n", "id_2 is missing or"),
        ("image,probability_1\nx,1\n", "probability_1 is missing or stands alone"),
        ("image,a,a\nx,1,0\n", "the column 'a' stands there twice"),
        ("image,a\n", "it has no rows"),
        ("image,a,b\nx,1,0\nx,0,1\n", "the image 'x' stands there 2 times"),
        ("image,a,b\nx,1,0\n,0,1\n", "an image has no name"),
        ("image,a,b\nx,1,0\ny,nan,1\n", "row of 'y' has a probability that is no"),
        ("image,a,b\nx,1,\n", "row of 'x' has a probability that is no number"),
        ("image,a,b\nx,inf,0\n", "row of 'x' has a probability that is no number"),
        ("image,a,b\nx,1,-0.1\n", "row of 'x' has a negative probability"),
        ("image,a,b\nx,1,0.002\nz,1,1\n", r"add to more than 1.001 \(and 1 other"),
        ("image,a,b\nx,1,soon\n", "cannot be read: .*invalid value 'soon'"),
        ("image,a,b\nx,1\n", "cannot be read: .*Expected 3 columns, got 2"),
        ("image,truth,a\nx,a,1\ny,,1\n", "'y' has no truth"),
        ("image,id_1,probability_1\nx,a,\n", "'x' has an id without a probability"),
        ("image,id_1,probability_1\nx,,1\n", "'x' has an id without a probability"),
        (
            "image,id_1,probability_1,id_2,probability_2\nx,a,0.5,a,0.5\n",
            "row of 'x' has a class twice",
        ),
        ("image,id_1,probability_1\nx,,\n", "row of 'x' has no answer at all"),
        ("image,a,b\nx,1,0\ny,0,0.0\n", "row of 'y' has 0 for each class"),
        (",image,a,b\n0,x,1,0\n", "the column '' is not named by .* index=False"),
        ("Unnamed: 0,image,a\n0,x,1\n", "the column 'Unnamed: 0' is not named"),
    ],
)
def test_a_table_that_is_not_of_predictions_is_refused_with_its_fault(
    text: str, fault: str, tmp_path: Path
) -> None:
    with pytest.raises(BadPredictions, match=fault):
        _read(tmp_path, text)


def test_a_file_that_is_absent_or_damaged_is_refused(tmp_path: Path) -> None:
    (tmp_path / "p.parquet").write_bytes(b"PAR1")

    with pytest.raises(BadPredictions, match="cannot be read"):
        read_predictions_file(tmp_path / "p.parquet")
    with pytest.raises(BadPredictions, match="there is no file"):
        read_predictions_file(tmp_path / "q.csv")
