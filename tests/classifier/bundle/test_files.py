"""The files of a version: written, read and refused."""

import json
import shutil
import struct
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

from classifier.bundle.files import (
    GRAPH,
    LABELS,
    NETWORK,
    PREPROCESSING,
    WEIGHTS,
    BrokenBundle,
    QuantisedBundle,
    digests_text,
    parse_digests,
    read_bundle,
    weights_header,
)
from tests.conftest import Store


@pytest.fixture
def folder(store: Store, tmp_path: Path) -> Path:
    return Path(shutil.copytree(store.bundle("v2").folder, tmp_path / "bundle"))


def test_a_tensor_lies_where_the_header_says(folder: Path) -> None:
    data = (folder / WEIGHTS).read_bytes()
    tensors = load_file(folder / WEIGHTS)

    for name, place in weights_header(folder / WEIGHTS).places.items():
        raw = data[place.offset : place.offset + place.length]
        values = np.frombuffer(raw, tensors[name].dtype)
        np.testing.assert_array_equal(values, tensors[name].ravel())


@pytest.mark.parametrize("name", [WEIGHTS, GRAPH, LABELS, PREPROCESSING])
def test_a_missing_file_is_named(folder: Path, name: str) -> None:
    (folder / name).unlink()

    with pytest.raises(BrokenBundle, match=f"{name} is missing"):
        read_bundle(folder)


@pytest.mark.parametrize("kept", [0, 5, 100, -1])
def test_cut_off_weights_are_refused(folder: Path, kept: int) -> None:
    data = (folder / WEIGHTS).read_bytes()
    (folder / WEIGHTS).write_bytes(data[:kept])

    with pytest.raises(BrokenBundle, match=WEIGHTS):
        read_bundle(folder)


def test_labels_that_do_not_fit_the_network_are_refused(folder: Path) -> None:
    labels = json.loads((folder / LABELS).read_text())
    (folder / LABELS).write_text(json.dumps(labels[:-1]))

    with pytest.raises(BrokenBundle, match=r"10 classes and labels\.json 9"):
        read_bundle(folder)


def _change(file: Path, **fields: object) -> None:
    """Change or add fields of a JSON object."""
    file.write_text(json.dumps({**json.loads(file.read_text()), **fields}))


LABEL = '[{"index": 0, "id": "a", "name": '
DEEP = "[" * 100_000 + "]" * 100_000


@pytest.mark.parametrize(
    ("name", "text", "reason"),
    [
        (LABELS, "", "Expecting value"),
        (LABELS, "\ufeff[]", "BOM"),
        (LABELS, "[]", "a list of 1 to 100,000 classes"),
        pytest.param(LABELS, DEEP, "nested too deeply", id="deep"),
        (
            LABELS,
            LABEL + '"a"}, {"index": 1, "id": "a", "name": ""}]',
            "id stands twice",
        ),
        (LABELS, '[{"index": 1, "id": "a", "name": "a"}]', "are not 0, 1, 2"),
        (LABELS, LABEL + '"\\ud800"}]', "surrogates not allowed"),
        (LABELS, LABEL + "7}]", "the name of label 0 must be text"),
        (LABELS, LABEL + '"a", "name": "b"}]', "the key 'name' stands twice"),
        (LABELS, '[{"index": false, "id": "a", "name": "a"}]', "whole number"),
        (LABELS, '[{"index": 1e400, "id": "a", "name": "a"}]', "beyond"),
        (LABELS, '[{"index": NaN, "id": "a", "name": "a"}]', "NaN is no number"),
        pytest.param(LABELS, f"[1{'0' * 5000}]", "4300 digits", id="long"),
        (LABELS, '{"0": "a"}', "a list of"),
        (LABELS, "[0]", "label 0 is no object"),
        (PREPROCESSING, "null", "an object is needed"),
        (PREPROCESSING, "{}", "height, width, mean, std, resize, color is missing"),
        (NETWORK, '{"architecture": "tiny", "stem": "small"}', "classes is missing"),
    ],
)
def test_hostile_json_is_refused_with_its_fault(
    folder: Path, name: str, text: str, reason: str
) -> None:
    (folder / name).write_text(text, "utf-8")

    with pytest.raises(BrokenBundle, match=f"^{name} cannot be read: .*{reason}"):
        read_bundle(folder)


@pytest.mark.parametrize(
    ("name", "fields", "reason"),
    [
        (PREPROCESSING, {"height": True}, "height must be a whole number"),
        (PREPROCESSING, {"height": 16.0}, "height must be a whole number"),
        (PREPROCESSING, {"width": "16"}, "width must be a whole number"),
        (PREPROCESSING, {"width": 4097}, "width must be a whole number"),
        (PREPROCESSING, {"mean": [0.5, 0.5]}, "mean must be a list of 3"),
        (PREPROCESSING, {"mean": "rgb"}, "mean must be a list of 3"),
        (PREPROCESSING, {"mean": [0.5, 0.5, True]}, "number of mean"),
        (PREPROCESSING, {"std": [1, 1, 0]}, "those of std above 0"),
        (PREPROCESSING, {"std": [1, 1, 10**400]}, "number of std"),
        (PREPROCESSING, {"color": ["rgb"]}, "unknown preprocessing"),
        (PREPROCESSING, {"resize": "nearest"}, "unknown preprocessing 'nearest'"),
        (PREPROCESSING, {"crop": "center"}, "center, with a resize_to"),
        (PREPROCESSING, {"resize_to": 256}, "resize_to needs a crop"),
        (NETWORK, {"architecture": "vgg"}, "must be tiny or resnet18"),
        (NETWORK, {"stem": ["small"]}, "stem must be imagenet or small"),
        (NETWORK, {"classes": 10.0}, "classes must be a whole number"),
        (NETWORK, {"precision": ["int8"]}, "precision must be fp32 or int8"),
        (NETWORK, {"precision": "int4"}, "precision must be fp32 or int8"),
        (NETWORK, {"source": "mynets:build"}, "source_sha256 belongs to"),
    ],
)
def test_an_odd_or_unknown_field_is_refused(
    folder: Path, name: str, fields: dict[str, object], reason: str
) -> None:
    _change(folder / name, **fields)

    with pytest.raises(BrokenBundle, match=f"^{name} cannot be read: .*{reason}"):
        read_bundle(folder)


def test_an_unknown_field_that_is_null_is_absent(folder: Path) -> None:
    original = read_bundle(folder)
    for name in (PREPROCESSING, NETWORK):
        _change(folder / name, later=None)

    assert read_bundle(folder) == original


def _tensor(begin: int, end: int, dtype: str = "F32") -> str:
    shape = [(end - begin) // 4]
    return json.dumps({"dtype": dtype, "shape": shape, "data_offsets": [begin, end]})


def _header(names: str, *tensors: str) -> str:
    pairs = zip(names, tensors, strict=True)
    return f"{{{', '.join(f'{json.dumps(name)}: {t}' for name, t in pairs)}}}"


@pytest.mark.parametrize(
    ("header", "data", "reason"),
    [
        ("[]", 0, "it is no object"),
        ("7", 0, "it is no object"),
        pytest.param(DEEP, 0, "nested too deeply", id="deep"),
        ('{"a": {}}', 0, "dtype, shape, data_offsets is missing"),
        ('{"a": []}', 0, "an object is needed"),
        ('{"a": null}', 0, "an object is needed"),
        (_header("aa", _tensor(0, 4), _tensor(4, 8)), 8, "stands twice"),
        (_header("ab", _tensor(0, 8), _tensor(4, 12)), 12, "overlap"),
        (_header("ab", _tensor(0, 8), _tensor(0, 8)), 8, "overlap"),
        (_header("ab", _tensor(0, 4), _tensor(8, 12)), 12, "leave a gap"),
        (_header("a", _tensor(0, 8)), 4, "has 73 bytes; its header needs 77"),
        (_header("a", _tensor(0, 8, "F4")), 8, "the dtype of 'a' must be"),
        (_header("a", _tensor(0, 8, "F64")), 8, "do not fit its shape"),
        (_header("a", _tensor(8, 4)), 0, "from 0"),
        (_header("a", _tensor(0, 8).replace("[2]", "[true]")), 8, "whole number"),
        (_header("a", _tensor(0, 8).replace("[2]", "[-2]")), 8, "whole number"),
        (_header("a", _tensor(0, 8).replace("[2]", "2")), 8, "a list of numbers"),
        (_header("a", _tensor(0, 8).replace("[0,", "[0, 4,")), 8, "begin and end"),
        (_header("a", _tensor(0, 8).replace("8]", "1e400]")), 8, "beyond"),
    ],
)
def test_a_hostile_header_of_the_weights_is_refused(
    folder: Path, header: str, data: int, reason: str
) -> None:
    text = header.encode()
    original = struct.pack("<Q", len(text)) + text + bytes(data)
    (folder / WEIGHTS).write_bytes(original)

    with pytest.raises(BrokenBundle, match=f"^{WEIGHTS} .*{reason}"):
        read_bundle(folder)


def test_files_that_are_too_long_are_not_read(folder: Path) -> None:
    for name in (LABELS, PREPROCESSING, NETWORK, WEIGHTS):
        original = (folder / name).read_bytes()
        with (folder / name).open("wb") as file:
            file.write(struct.pack("<Q", 2**40))
            file.truncate(2**41)  # a hole: it takes no room

        with pytest.raises(BrokenBundle, match=rf"^{name} has .*(more than|too long)"):
            read_bundle(folder)
        (folder / name).write_bytes(original)


def test_an_int8_form_has_no_file_of_weights_and_says_so(folder: Path) -> None:
    (folder / WEIGHTS).unlink()

    _change(folder / NETWORK, precision="int8")

    with pytest.raises(QuantisedBundle, match="use --backend onnx"):
        _ = read_bundle(folder).weights


def test_a_bundle_without_a_precision_is_fp32(folder: Path) -> None:
    network = json.loads((folder / NETWORK).read_text())
    network.pop("precision")
    (folder / NETWORK).write_text(json.dumps(network))

    assert read_bundle(folder).network.precision == "fp32"


def test_all_files_can_be_read_by_a_service_of_another_user(store: Store) -> None:
    modes = {file.stat().st_mode for file in store.bundle("v1").folder.iterdir()}

    assert len(modes) == 1, "some files are closed, others open"


def test_a_bundle_has_the_files_that_users_script_against(folder: Path) -> None:
    assert {path.name for path in folder.iterdir()} == {
        "MLmodel",
        "labels.json",
        "model.onnx",
        "network.json",
        "preprocessing.json",
        "requirements.txt",
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


def test_digests_are_read_as_they_were_written() -> None:
    digests = {"model.onnx": "0" * 64, "data/b": "f" * 64}

    assert parse_digests(digests_text(digests)) == digests


@pytest.mark.parametrize(
    "path", ["", ".", "/a", "../a", "a/../b", "a//b", "a\\b", "./a"]
)
def test_digests_of_a_path_outside_the_version_are_refused(path: str) -> None:
    with pytest.raises(ValueError, match="no path below a version's folder"):
        parse_digests(json.dumps({path: "0" * 64}))


@pytest.mark.parametrize("digest", ["", "0" * 63, "G" * 64, "A" * 64, 5, None])
def test_digests_that_are_no_sha256_are_refused(digest: object) -> None:
    with pytest.raises(ValueError, match=r"the sha256 of 'model.onnx' is"):
        parse_digests(json.dumps({"model.onnx": digest}))
