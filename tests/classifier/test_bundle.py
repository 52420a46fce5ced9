"""The files of a version: written, read, and found broken."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

from classifier.bundle import (
    GRAPH,
    LABELS,
    NETWORK,
    PREPROCESSING,
    WEIGHTS,
    BrokenBundle,
    Bundle,
    QuantisedBundle,
    read_bundle,
    tensor_offsets,
)
from tests.conftest import Store


@pytest.fixture
def folder(store: Store, tmp_path: Path) -> Path:
    return Path(shutil.copytree(store.bundle("v2").folder, tmp_path / "bundle"))


def test_a_tensor_lies_where_the_header_says(folder: Path) -> None:
    data = (folder / WEIGHTS).read_bytes()
    tensors = load_file(folder / WEIGHTS)

    for name, place in tensor_offsets(folder / WEIGHTS).items():
        raw = data[place.offset : place.offset + place.length]
        values = np.frombuffer(raw, tensors[name].dtype)
        np.testing.assert_array_equal(values, tensors[name].ravel())


@pytest.mark.parametrize("name", [WEIGHTS, GRAPH, LABELS, PREPROCESSING])
def test_a_missing_file_is_named(folder: Path, name: str) -> None:
    (folder / name).unlink()

    with pytest.raises(BrokenBundle, match=f"{name} is missing"):
        read_bundle(folder)


@pytest.mark.parametrize("kept", [0, 5, 100, -1])
def test_cut_off_weights_are_found(folder: Path, kept: int) -> None:
    data = (folder / WEIGHTS).read_bytes()
    (folder / WEIGHTS).write_bytes(data[:kept])

    with pytest.raises(BrokenBundle, match=WEIGHTS):
        read_bundle(folder)


def test_labels_that_do_not_fit_the_network_are_found(folder: Path) -> None:
    labels = json.loads((folder / LABELS).read_text())
    (folder / LABELS).write_text(json.dumps(labels[:-1]))

    with pytest.raises(BrokenBundle, match=r"10 classes and labels\.json 9"):
        read_bundle(folder)


def test_preprocessing_of_an_unknown_kind_is_found(folder: Path) -> None:
    fields = json.loads((folder / PREPROCESSING).read_text())
    (folder / PREPROCESSING).write_text(json.dumps({**fields, "resize": "nearest"}))

    with pytest.raises(BrokenBundle, match="nearest"):
        read_bundle(folder)


def _with_network(folder: Path, **fields: str) -> Bundle:
    network = json.loads((folder / NETWORK).read_text())
    (folder / NETWORK).write_text(json.dumps({**network, **fields}))
    return read_bundle(folder)


def test_an_int8_form_has_no_file_of_weights_and_says_so(folder: Path) -> None:
    (folder / WEIGHTS).unlink()

    bundle = _with_network(folder, precision="int8")

    with pytest.raises(QuantisedBundle, match="use --backend onnx"):
        _ = bundle.weights


def test_a_bundle_that_tells_no_precision_is_fp32(folder: Path) -> None:
    network = json.loads((folder / NETWORK).read_text())
    network.pop("precision")
    (folder / NETWORK).write_text(json.dumps(network))

    assert read_bundle(folder).network.precision == "fp32"


def test_an_unknown_precision_is_found(folder: Path) -> None:
    with pytest.raises(BrokenBundle, match="precision must be fp32 or int8"):
        _with_network(folder, precision="int4")


def test_all_files_can_be_read_by_a_service_that_is_another_user(
    store: Store,
) -> None:
    modes = {file.stat().st_mode for file in store.bundle("v1").folder.iterdir()}

    assert len(modes) == 1, "some files are closed, others open"


def test_a_bundle_has_the_files_that_users_script_against(folder: Path) -> None:
    assert {path.name for path in folder.iterdir()} == {
        "MLmodel",
        "labels.json",
        "model.onnx",
        "network.json",
        "preprocessing.json",
        "validation_predictions.parquet",
        "weights.safetensors",
    }
    assert json.loads((folder / PREPROCESSING).read_text()) == {
        "height": 16,
        "width": 16,
        "mean": [0.485, 0.456, 0.406],
        "std": [0.229, 0.224, 0.225],
        "resize": "bilinear-antialias",
        "color": "rgb",
    }
