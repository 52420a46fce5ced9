"""Kept predictions side by side: joined by name, refused where they do not fit."""

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from classifier.bundle.files import LABELS, VALIDATION_PREDICTIONS
from classifier.store.registry import Registry
from classifier.store.versions import Version
from compare.matrix.predictions import read_side_by_side, validated
from compare.results.comparison import NotComparable
from tests.conftest import Store

Spoil = Callable[[pa.Table], pa.Table]


@pytest.fixture
def changed(store: Store, tmp_path: Path) -> Store:
    return store.copy(tmp_path / "store")


def _both(store: Store) -> tuple[Registry, list[Version]]:
    registry = store.registry
    return registry, [registry.resolve(store.model, name) for name in ("v1", "v2")]


def _spoil(store: Store, spoil: Spoil) -> None:
    """Version 2's predictions."""
    file = store.bundle("v2").validation_predictions
    pq.write_table(spoil(pq.read_table(file)), file)


def _set(table: pa.Table, name: str, column: Any) -> pa.Table:
    return table.set_column(table.column_names.index(name), name, column)


def test_accuracies_are_those_of_the_registry(store: Store) -> None:
    registry, versions = _both(store)

    for version, read in zip(
        versions, read_side_by_side(registry, versions), strict=True
    ):
        for key, right in (("1", read.right), ("5", read.ranks > 0)):
            tagged = float(version.tags[f"val_top{key}_accuracy"])
            assert float(np.mean(right)) == pytest.approx(tagged)


def test_an_int8_form_keeps_its_own(quantised_store: Store) -> None:
    registry = quantised_store.registry
    form = registry.resolve(quantised_store.model, "v2.int8")

    read = validated(form, registry)

    tagged = float(form.tags["val_top1_accuracy"])
    assert float(np.mean(read.right)) == pytest.approx(tagged)


def test_images_are_joined_by_name(store: Store, changed: Store) -> None:
    order = np.random.default_rng(0).permutation(896)
    _spoil(changed, lambda table: table.take(order))

    _, expected = read_side_by_side(*_both(store))
    _, read = read_side_by_side(*_both(changed))

    assert read.names == expected.names
    assert np.array_equal(read.first, expected.first)
    assert np.array_equal(read.ranks, expected.ranks)


def test_classes_are_joined_by_id(store: Store, changed: Store) -> None:
    """The same answers by a version that counts its ten classes from the end."""
    file = changed.bundle("v2").folder / LABELS
    entries = [
        f'{{"index": {index}, "id": "{9 - index}", "name": "{9 - index}"}}'
        for index in range(10)
    ]
    file.write_text(f"[{', '.join(entries)}]")

    def turn(table: pa.Table) -> pa.Table:
        for name in ("target", *(f"index_{place}" for place in range(1, 6))):
            turned = 9 - np.asarray(table[name])
            table = _set(table, name, pa.array(turned, pa.int32()))
        return table

    _spoil(changed, turn)

    _, expected = read_side_by_side(*_both(store))
    _, read = read_side_by_side(*_both(changed))

    assert np.array_equal(read.first, expected.first)
    assert np.array_equal(read.ranks, expected.ranks)


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda t: t.slice(0, 800), "896 images and v2 on other 800"),
        (
            lambda t: _set(t, "image", pa.array([f"x{n}" for n in range(896)])),
            "896 images and v2 on other 896",
        ),
        (
            lambda t: _set(
                t, "target", pa.array((np.asarray(t["target"]) + 1) % 10, pa.int32())
            ),
            "other truths for 896 images, such as",
        ),
        (
            lambda t: _set(t, "index_1", pa.array([10] * 896, pa.int32())),
            "cannot be read: an index outside the 10 classes",
        ),
        (lambda t: t.drop_columns(["index_3"]), "cannot be read"),
    ],
)
def test_what_does_not_fit_is_not_comparable(
    changed: Store, spoil: Spoil, message: str
) -> None:
    _spoil(changed, spoil)

    with pytest.raises(NotComparable, match=message):
        read_side_by_side(*_both(changed))


def test_other_data_under_the_same_names_is_not_comparable(store: Store) -> None:
    registry, (one, two) = _both(store)
    other = replace(two, tags={**two.tags, "dataset_digest": "0" * 64})

    with pytest.raises(NotComparable, match=r"v1 was validated on .*000000000000"):
        read_side_by_side(registry, [one, other])


def test_a_version_without_predictions_is_told(changed: Store) -> None:
    changed.bundle("v2").validation_predictions.unlink()

    with pytest.raises(NotComparable, match=f"v2 keeps no {VALIDATION_PREDICTIONS}"):
        read_side_by_side(*_both(changed))


def test_damaged_files_are_told(changed: Store) -> None:
    changed.bundle("v2").validation_predictions.write_bytes(b"PAR1")

    with pytest.raises(NotComparable, match=r"v2's .* cannot be read"):
        read_side_by_side(*_both(changed))

    shutil.rmtree(changed.bundle("v1").folder / LABELS, ignore_errors=True)
    (changed.bundle("v1").folder / LABELS).write_text("nonsense")
    with pytest.raises(NotComparable, match="v1 is broken"):
        read_side_by_side(*_both(changed))
