"""The sidecar of a model made elsewhere, x.json beside x.onnx: what the file lacks."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

from classifier.bundle.labels import MOST_CLASSES, Labels
from classifier.bundle.preprocessing import Preprocessing
from classifier.bundle.strict_json import fields_of, one_of, parse_json, string
from classifier.console.exits import WrongUsage

Layout = Literal["nchw", "nhwc"]
"""Order of the axes of a network's input."""

Output = Literal["logits", "probabilities"]

_WORDNET_LINE = re.compile(r"(n\d{8})\s+(.+)")
"""A line of ImageNet's synset.txt."""


class BadSidecar(WrongUsage, ValueError):
    """A sidecar, or a file of labels, cannot be read."""


@dataclass(frozen=True)
class Sidecar:
    """The fields of a sidecar; a field that it lacks is None."""

    labels: Labels | None = None
    preprocessing: Preprocessing | None = None
    layout: Layout | None = None
    output: Output | None = None

    @classmethod
    def from_json(cls, found: Any) -> "Sidecar":
        """Raises ValueError if a field is wrong or unknown."""
        fields = fields_of(
            found, (), optional=("labels", "preprocessing", "layout", "output")
        )
        values = {name: value for name, value in fields.items() if value is not None}
        for name, known in (("layout", Layout), ("output", Output)):
            if name in values:
                one_of(values[name], name, get_args(known))
        if "labels" in values:
            values["labels"] = labels_of(values["labels"])
        if "preprocessing" in values:
            values["preprocessing"] = Preprocessing.from_json(values["preprocessing"])
        return cls(**values)


def read_sidecar(file: Path) -> Sidecar:
    """The sidecar of a model's file; without one, the files of a bundle beside it.

    Those are labels.json and preprocessing.json. Raises BadSidecar.
    """
    own = file.with_suffix(".json")
    if own.is_file():
        return _parsed(own, _json(own))
    names = ("labels", "preprocessing")
    files = {name: file.with_name(f"{name}.json") for name in names}
    found = {name: _json(path) for name, path in files.items() if path.is_file()}
    return _parsed(file.parent, found)


def read_labels(file: Path) -> Labels:
    """Labels of a text with a name a line, or of JSON as bundles have it.

    A line may begin with the class id and a tab. Raises BadSidecar.
    """
    if file.suffix.lower() == ".json":
        found = _json(file)
        # A sidecar, or timm's and transformers' {"0": "tench", …}.
        if isinstance(found, Mapping) and "labels" in found:
            found = found["labels"]
    else:
        try:
            lines = file.read_text("utf-8-sig").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            raise BadSidecar(f"the labels in {file} cannot be read: {error}") from error
        found = [line.strip() for line in lines if line.strip()]
    try:
        return labels_of(found)
    except ValueError as error:
        raise BadSidecar(f"the labels in {file} cannot be read: {error}") from error


def labels_of(found: Any) -> Labels:
    """Labels of a list of names, of entries as in labels.json, or of index: name.

    Raises ValueError.
    """
    if isinstance(found, Mapping):
        found = _by_index(found)
    if not isinstance(found, Sequence) or isinstance(found, str):
        raise ValueError("labels are a list of classes")
    if found and all(isinstance(entry, str) for entry in found):
        return named([string(entry, "a name") for entry in found])
    return Labels.from_json(list(found))


def named(lines: Sequence[str]) -> Labels:
    """Labels of one line a class; a name that stands twice gets its index as well."""
    if len(lines) > MOST_CLASSES:
        raise ValueError(f"labels are a list of 1 to {MOST_CLASSES:,} classes")
    pairs = [_id_and_name(line) for line in lines]
    ids: dict[str, int] = {}
    for index, (id_, _) in enumerate(pairs):
        # ImageNet's names have two cranes and two maillots.
        ids[f"{id_}_{index}" if id_ in ids else id_] = index
    return Labels(tuple(ids), tuple(name for _, name in pairs))


def _id_and_name(line: str) -> tuple[str, str]:
    id_, tab, name = line.partition("\t")
    if tab and id_ and name.strip():
        return id_.strip(), name.strip()
    found = _WORDNET_LINE.fullmatch(line)
    return (found[1], found[2]) if found else (line, line)


def _by_index(found: Mapping[Any, Any]) -> list[Any]:
    by_index = {int(index): name for index, name in found.items()}
    if sorted(by_index) != list(range(len(by_index))):
        raise ValueError("the indices of the labels are not 0, 1, 2, …")
    return [by_index[index] for index in range(len(by_index))]


def _json(file: Path) -> Any:
    try:
        return parse_json(file.read_bytes())
    except (OSError, ValueError) as error:
        raise BadSidecar(f"{file} cannot be read: {error}") from error


def _parsed(file: Path, found: Any) -> Sidecar:
    try:
        return Sidecar.from_json(found)
    except ValueError as error:
        raise BadSidecar(
            f'{file} is no sidecar: {error}; it is {{"labels": […], '
            f'"preprocessing": {{…}}, "layout": "nchw", "output": "logits"}}'
        ) from error
