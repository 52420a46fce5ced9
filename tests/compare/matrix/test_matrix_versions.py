"""What `v1..v4` and `v1,v4,@best` name."""

import pytest

from classifier.store.versions import UnknownVersion, Version
from compare.matrix.matrix import MOST, name_entries


def _version(number: int, *, int8: bool = False, alias: str | None = None) -> Version:
    return Version(
        model="m",
        number=str(number),
        model_id=f"m-{number}",
        aliases=(alias,) if alias else (),
        tags={"int8_model_id": f"m-{number}8"} if int8 else {},
    )


KNOWN = [
    _version(1, int8=True),
    _version(2),
    _version(4, int8=True, alias="best"),
    _version(9),
]


@pytest.mark.parametrize(
    ("asked", "numbers", "notes"),
    [
        ("v1..v2", ["1", "2"], []),
        ("1..2", ["1", "2"], []),
        ("v1,v4,@best,9", ["1", "4", "9"], []),
        ("v9, v1", ["9", "1"], []),
        ("v1..@best", ["1", "2", "4"], ["v1..@best: the model has no v3, so"]),
        ("v1..latest", ["1", "2", "4", "9"], ["no v3, v5 to v8"]),
        ("v1..v16", ["1", "2", "4", "9"], ["v3, v5 to v8, v10 to v16"]),
        ("v1..v2,latest", ["1", "2", "9"], []),
        ("v1,v1.int8", ["1", "1.int8"], []),
        ("v1.int8..v4.int8", ["1.int8", "4.int8"], ["v2.int8 to v3.int8"]),
        ("v01.INT8 .. @best.Int8", ["1.int8", "4.int8"], ["v2.int8 to v3.int8"]),
        ("@V1 .. v002", ["1", "2"], []),
    ],
)
def test_names_and_ranges(asked: str, numbers: list[str], notes: list[str]) -> None:
    versions, said = name_entries(asked, lambda _: ("m", KNOWN))

    assert [version.number for version in versions] == numbers
    assert len(said) == len(notes)
    for note, part in zip(said, notes, strict=True):
        assert part in note


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ("v1,x.onnx", "x.onnx keeps no predictions; compare it first"),
        ("v1", "names 1 version; name two or more"),
        ("v1,v01,@", "no version '@'"),
        ("v1,v1", "names 1 version"),
        ("v5..v8", "names 0 versions"),
        ("v1,v3", "no version 'v3'"),
        ("v1..v1000000,v3", "no version 'v3'"),
        ("v1..@champion", "no version '@champion'"),
        ("v4..v1", "write v1..v4"),
        ("v1..", "no range"),
        ("v1..v2..v4", "no range"),
        ("v1..v4.int8", "no range"),
        ("v1,v2.int8", "no int8 form"),
        ("", "no version ''"),
    ],
)
def test_what_is_not_there_is_refused(asked: str, message: str) -> None:
    with pytest.raises(UnknownVersion, match=message):
        name_entries(asked, lambda _: ("m", KNOWN))


def test_more_than_can_be_told_apart_are_refused() -> None:
    known = [_version(number) for number in range(1, MOST + 2)]

    assert len(name_entries(f"v1..v{MOST}", lambda _: ("m", known))[0]) == MOST
    with pytest.raises(UnknownVersion, match="at most 100"):
        name_entries("v1..latest", lambda _: ("m", known))
