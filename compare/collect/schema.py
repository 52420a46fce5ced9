"""Versions and answers: their form in HTTP, checked, and their form here."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from classifier.bundle.labels import Labels
from classifier.store.versions import INT8, qualified

NOT_IN_FILE = "not_in_file"
"""Code of an image that a file of predictions lacks."""

FINAL_CODES = frozenset({"undecodable_image", "image_too_large", NOT_IN_FILE})
"""Errors of one image that another request cannot mend."""

PREDICTIONS_ENDS = (".csv", ".parquet")
"""Ends of the names of files of predictions."""

FILE_ENDS = (*PREDICTIONS_ENDS, ".onnx")
"""Ends of the names of all files that may stand for a version."""


class NotTheContract(ValueError):
    """The answer breaks the contract of the HTTP API."""


@dataclass(frozen=True)
class ServedVersion:
    """A version as `GET /versions/v8` shows it, or a file."""

    model: str
    """A file's name, as `number`, if it is a file."""

    number: str
    labels: Labels
    run_id: str | None
    epoch: int | None
    dataset_digest: str | None
    aliases: tuple[str, ...] | None = None
    """An int8 form has the aliases of its base version. None if the service does not
    say."""

    file_sha256: str | None = None
    """Digest of a file; None for a version."""

    served_as: str | None = None
    """Backend and precision, `onnx;fp32`. None of a file, of a version that its service
    has not loaded, and if the service does not say."""

    is_qualified: bool = field(default=False, compare=False)
    """Whether its service has versions of several models, so that requests name the
    model too."""

    @property
    def asked(self) -> str:
        """Its name in requests: `8`, or `birds/8`."""
        return qualified(self.model, self.number) if self.is_qualified else self.number

    @property
    def precision(self) -> str:
        """The precision that its name promises."""
        return "int8" if self.number.endswith(INT8) else "fp32"

    @property
    def key(self) -> tuple[str, str]:
        """Equal for the same version, also if its aliases have moved."""
        return self.model, self.number


@dataclass(frozen=True, slots=True)
class TopAnswer:
    """The likeliest classes of one image, by the version's own indices."""

    indices: tuple[int, ...]
    probabilities: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class NoAnswer:
    """The error of a version for one image."""

    code: str
    message: str

    @property
    def is_final(self) -> bool:
        return self.code in FINAL_CODES


Answer = TopAnswer | NoAnswer


Named = tuple[str | None, str]
"""Model and number of a version, or twice the name of a file."""


def is_file_name(name: str) -> bool:
    """Whether `--a NAME` means a file; versions and aliases have no such end."""
    return name.lower().endswith(FILE_ENDS)


def shown_names(a: Named, b: Named) -> tuple[str, str]:
    """Names for reports: `v8`, `birds/v8` beside another model's, or a file's name."""
    models = {model for model, number in (a, b) if not is_file_name(number)}

    def shown(model: str | None, number: str) -> str:
        if is_file_name(number):
            return number
        return f"{model}/v{number}" if len(models) > 1 else f"v{number}"

    return shown(*a), shown(*b)


def served_models(listed: Mapping[str, Any]) -> list[str]:
    """The models of the versions that `GET /versions` lists."""
    entries = [entry for entry in listed["versions"] if isinstance(entry, Mapping)]
    models = [str(entry["model"]) for entry in entries if entry.get("model")]
    return list(dict.fromkeys(models)) or [str(listed["model"])]


def read_version(entry: Mapping[str, Any], listed: Mapping[str, Any]) -> ServedVersion:
    """The body of `GET /versions/v8`; `listed` is the body of `GET /versions`.

    Raises NotTheContract if a required key is missing or of another kind. An optional
    key of another kind is None.
    """
    try:
        dataset = entry.get("dataset")
        digest = dataset.get("digest") if isinstance(dataset, Mapping) else None
        number = str(entry["version"])
        form = [_text(entry.get("backend")), _text(entry.get("precision"))]
        aliases = entry.get("aliases")
        if number.endswith(INT8):
            whole = number.removesuffix(INT8)
            of = {
                (other.get("model"), str(other["version"])): other
                for other in listed["versions"]
            }
            aliases = of.get((entry.get("model"), whole), {}).get("aliases")
        return ServedVersion(
            model=str(entry.get("model") or listed["model"]),
            is_qualified=bool(entry.get("model")),
            number=number,
            labels=Labels.from_json(entry["labels"]),
            run_id=_text(entry.get("run_id")),
            epoch=whole_number(entry.get("epoch")),
            dataset_digest=_text(digest),
            served_as=None if None in form else ";".join(filter(None, form)),
            aliases=tuple(map(str, aliases)) if isinstance(aliases, list) else None,
        )
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise NotTheContract(f"not an entry of a version: {error!r}") from error


def whole_number(value: object) -> int | None:
    """`value` if it is an integer of 0 to 999,999,999, else None; true and 8.0 too."""
    return value if type(value) is int and 0 <= value < 10**9 else None


def _text(value: object) -> str | None:
    return value if isinstance(value, str) and value else None


def read_results(
    document: Mapping[str, Any], count: int, versions: Sequence[ServedVersion]
) -> list[tuple[Answer, ...]]:
    """The answers of each image, in the versions' order. Raises NotTheContract."""
    results = document.get("results")
    expected = [(image, v) for image in range(count) for v in versions]
    if not isinstance(results, list) or len(results) != len(expected):
        raise NotTheContract(f"not the {len(expected)} results that were expected")
    answers = []
    for row, (image, version) in zip(results, expected, strict=True):
        try:
            place, number = row["image"], str(row["version"])
            model = row.get("model") or version.model
            answers.append(_read_row(row, len(version.labels)))
        except (KeyError, TypeError, ValueError) as error:
            raise NotTheContract(f"not the contract's result: {error!r}") from error
        if (place, model, number) != (image, *version.key):
            raise NotTheContract(
                f"image {place} by version {model}/{number} came where image {image} "
                f"by version {version.model}/{version.number} was expected"
            )
    width = len(versions)
    return [tuple(answers[i : i + width]) for i in range(0, len(answers), width)]


def _read_row(row: Mapping[str, Any], classes: int) -> Answer:
    """Raises KeyError, TypeError or ValueError if `row` is no answer and no error."""
    if "error" in row:
        return NoAnswer(str(row["error"]["code"]), str(row["error"]["message"]))
    indices = tuple(int(entry["index"]) for entry in row["top"])
    probabilities = tuple(float(entry["probability"]) for entry in row["top"])
    if len(indices) != min(5, classes) or len(set(indices)) != len(indices):
        raise ValueError(f"{len(indices)} answers, or one twice")
    if not all(0 <= index < classes for index in indices):
        raise ValueError("a class index that the version does not have")
    if not all(0 <= probability <= 1 for probability in probabilities):
        raise ValueError("a probability outside 0..1")
    if list(probabilities) != sorted(probabilities, reverse=True):
        raise ValueError("probabilities that do not fall")
    return TopAnswer(indices, probabilities)
