"""Sidecars and files of labels, in the forms in which other tools leave them."""

import json
from pathlib import Path

import pytest

from classifier.bundle.labels import Labels
from classifier.bundle.preprocessing import Preprocessing
from classifier.bundle.sidecar import (
    BadSidecar,
    Sidecar,
    read_labels,
    read_sidecar,
)

ENTRIES = [
    {"index": 0, "id": "n01", "name": "tench"},
    {"index": 1, "id": "n02", "name": "goldfish"},
]


@pytest.mark.parametrize(
    ("name", "text", "ids", "names"),
    [
        ("l.txt", "cat\nwild dog\n\n", ["cat", "wild dog"], ["cat", "wild dog"]),
        ("l.txt", "\ufeffcat\r\ndog\r\n", ["cat", "dog"], ["cat", "dog"]),
        ("l.txt", "n01\ttench\nn02\tpike", ["n01", "n02"], ["tench", "pike"]),
        ("l.txt", "n01440764 tench, Tinca", ["n01440764"], ["tench, Tinca"]),
        ("l.txt", "crane\nowl\ncrane", ["crane", "owl", "crane_2"], None),
        ("l.json", json.dumps(ENTRIES), ["n01", "n02"], ["tench", "goldfish"]),
        ("l.json", '["cat", "dog"]', ["cat", "dog"], ["cat", "dog"]),
        ("l.json", '{"1": "dog", "0": "cat"}', ["cat", "dog"], ["cat", "dog"]),
        ("l.json", '{"labels": ["cat"]}', ["cat"], ["cat"]),
    ],
)
def test_labels_are_read_in_the_forms_that_tools_write(
    tmp_path: Path, name: str, text: str, ids: list[str], names: list[str] | None
) -> None:
    (tmp_path / name).write_text(text)

    labels = read_labels(tmp_path / name)

    assert labels == Labels(tuple(ids), tuple(names or ["crane", "owl", "crane"]))


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("l.txt", b""),
        ("l.txt", b"\xff\xfe"),
        ("l.json", b"{"),
        ("l.json", b'"cat"'),
        ("l.json", b'{"0": "cat", "2": "dog"}'),
        ("l.json", b'{"zero": "cat"}'),
        ("l.json", b'[{"index": 1, "id": "a", "name": "a"}]'),
        ("none.txt", None),
    ],
)
def test_odd_labels_are_refused_with_their_file(
    tmp_path: Path, name: str, content: bytes | None
) -> None:
    if content is not None:
        (tmp_path / name).write_bytes(content)

    with pytest.raises(BadSidecar, match=name):
        read_labels(tmp_path / name)


def test_a_sidecar_of_the_same_name_goes_before_the_files_of_a_bundle(
    tmp_path: Path,
) -> None:
    file = tmp_path / "x.onnx"
    assert read_sidecar(file) == Sidecar()
    (tmp_path / "labels.json").write_text(json.dumps(ENTRIES))
    (tmp_path / "preprocessing.json").write_text(
        json.dumps(Preprocessing(8, 8).to_json())
    )
    bundle = read_sidecar(file)
    (tmp_path / "x.json").write_text('{"labels": ["a"], "layout": "nhwc"}')

    assert bundle.labels is not None
    assert bundle.labels.ids == ("n01", "n02")
    assert bundle.preprocessing == Preprocessing(8, 8)
    assert read_sidecar(file) == Sidecar(Labels(("a",), ("a",)), layout="nhwc")


@pytest.mark.parametrize(
    "content", ['{"layout": "hwc"}', '{"output": "scores"}', '{"more": 1}', "[]", "{"]
)
def test_an_odd_sidecar_is_refused_with_its_file(tmp_path: Path, content: str) -> None:
    (tmp_path / "x.json").write_text(content)

    with pytest.raises(BadSidecar, match=r"x\.json"):
        read_sidecar(tmp_path / "x.onnx")
