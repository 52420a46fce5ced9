"""Versions of a model, their int8 forms, and the names of both."""

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from unicodedata import category

from classifier.console.exits import WrongUsage

INT8 = ".int8"
"""Suffix of an int8 form's name: `v16.int8`."""

INT8_TAG = "int8_"
"""A version's tags `int8_x` are the tags `x` of its int8 form."""

INT8_MODEL_ID = f"{INT8_TAG}model_id"
"""The tag of a version that has an int8 form; written after its other tags."""

LONGEST_NAME = 261
"""`@`, MLflow's longest alias (255), and INT8; without a model."""

MOST_REPEATED = 40
"""Most characters of an unknown name that an error message repeats."""

LATEST = "latest"

MODELS_URI = "models:/"
"""Beginning of MLflow's address of a version."""

# 0*(\d+) would try every split of the zeros: 0.1 s for 4,000 of them.
_NUMBER = re.compile(r"(?:@?[vV])?0*([1-9][0-9]*|0)")

_INHERITED = ("epoch", "dataset_name", "dataset_digest", "dataset_source")
"""Tags that hold for an int8 form too. Measures do not, unless measured again."""


class UnknownModel(WrongUsage, LookupError):
    """The named model is not registered, or several are and none was named."""


class UnknownVersion(WrongUsage, LookupError):
    """The model has no such version or alias."""


class AmbiguousVersion(WrongUsage, LookupError):
    """Several models have a version of this name, and none was named."""


@dataclass(frozen=True, kw_only=True)
class Version:
    """An entry of the registry, or the int8 form stored beside one."""

    model: str
    number: str
    """`16`, or `16.int8` for an int8 form."""

    model_id: str | None
    """MLflow's logged model, which has the files; None for another tool's version."""

    run_id: str | None = None
    aliases: tuple[str, ...] = ()
    tags: Mapping[str, str] = field(default_factory=dict)
    """The registry's tags. Anybody can write them, so programs read the properties
    below, which are None if a tag is absent or odd."""

    base: "Version | None" = None
    """The version that an int8 form was made of; None for a version itself."""

    created_ms: int | None = None
    """When it was registered, in milliseconds since 1970; None for an int8 form."""

    is_qualified: bool = False
    """Whether it is one of several models' versions, so that its name has the model."""

    @property
    def name(self) -> str:
        """Its canonical name: `16`, or `birds/16` if it is qualified."""
        return self.qualified(self.number)

    def qualified(self, name: str) -> str:
        """Another name of this version's model, such as `@best`, in the same manner."""
        return qualified(self.model, name) if self.is_qualified else name

    @property
    def epoch(self) -> int | None:
        tag = self._text("epoch") or ""
        # int() also accepts signs, underscores, and more digits than JSON readers.
        return int(tag) if re.fullmatch(r"[0-9]{1,9}", tag) else None

    @property
    def val_loss(self) -> float | None:
        return self._number("val_loss", most=math.inf)

    @property
    def val_top1_accuracy(self) -> float | None:
        """A fraction, 0..1."""
        return self._number("val_top1_accuracy", most=1)

    @property
    def val_top5_accuracy(self) -> float | None:
        """A fraction, 0..1."""
        return self._number("val_top5_accuracy", most=1)

    @property
    def dataset_name(self) -> str | None:
        return self._text("dataset_name")

    @property
    def dataset_digest(self) -> str | None:
        return self._text("dataset_digest")

    @property
    def dataset_source(self) -> str | None:
        """`digits`, or an absolute path, as training records it."""
        source = self._text("dataset_source") or ""
        return source if source == "digits" or source.startswith("/") else None

    def _text(self, tag: str) -> str | None:
        """The tag; None if it is empty or has control characters or surrogates."""
        text = self.tags.get(tag)
        if not text or any(category(letter) in ("Cc", "Cs") for letter in text):
            return None
        return text

    def _number(self, tag: str, *, most: float) -> float | None:
        """The tag as a number from 0 to `most`, else None. JSON has no infinity."""
        try:
            number = float(self._text(tag) or "")
        except ValueError:
            return None
        return number if math.isfinite(number) and 0 <= number <= most else None

    @property
    def int8(self) -> "Version | None":
        """The int8 form with its own measured tags, or None.

        Aliases belong to the version itself.
        """
        model_id = self._text(INT8_MODEL_ID)
        if self.base is not None or model_id is None:
            return None
        own = {
            name.removeprefix(INT8_TAG): value
            for name, value in self.tags.items()
            if name.startswith(INT8_TAG)
        }
        inherited = {name: self.tags[name] for name in _INHERITED if name in self.tags}
        return replace(
            self,
            number=f"{self.number}{INT8}",
            model_id=model_id,
            run_id=own.get("run_id"),
            aliases=(),
            tags={**inherited, **own},
            created_ms=None,
            base=self,
        )


def with_int8_forms(versions: Sequence[Version]) -> list[Version]:
    """The versions, each followed by its int8 form if it has one."""
    forms = [form for v in versions for form in (v, v.int8) if form is not None]
    return list({(form.model, form.number): form for form in forms}.values())


def canonical_name(name: str) -> str:
    """The one spelling of a version's name: `8`, `latest` or `@prod`, and with `.int8`;
    after a model, `birds/8`.

    All names pass through here: flags, queries, paths, messages between processes.
    MLflow allows no alias `latest` or `v8`, but it allows `8`, whose spelling is `@8`.
    """
    model, own = split_name(name)
    return (
        _without_model(own) if model is None else qualified(model, _without_model(own))
    )


def qualified(model: str, name: str) -> str:
    """`birds/v3`, the name of a model's version that holds among several models."""
    return f"{model}/{name}"


def typed_name(name: str) -> str:
    """A canonical name with a number as users type it: `v8`, `birds/v8`."""
    model, number = split_name(name)
    return f"v{number}" if model is None else qualified(model, f"v{number}")


def _without_model(name: str) -> str:
    if len(name) > LONGEST_NAME:
        return name  # No version or alias has such a name.
    if name.lower().endswith(INT8):
        return f"{_canonical(name[: -len(INT8)])}{INT8}"
    return _canonical(name)


def _canonical(name: str) -> str:
    number = _NUMBER.fullmatch(name)
    if number is not None:
        return number[1]
    alias = name.removeprefix("@")
    return LATEST if alias.lower() == LATEST else f"@{alias}"


def split_name(text: str) -> tuple[str | None, str]:
    """Model and version of `birds/v3`, `models:/birds/3` and `models:/birds@champion`.

    The model is None if the name has none. MLflow allows neither `/` nor `:` in names.
    """
    rest = text.removeprefix(MODELS_URI)
    model, slash, name = rest.rpartition("/")
    if not slash and rest != text:
        model, sign, alias = rest.partition("@")
        name = f"{sign}{alias}"
    return (model, name) if model and name else (None, text)


def find_version(versions: Sequence[Version], name: str, *, model: str) -> Version:
    """The version or int8 form that `name` means, in any spelling.

    Raises UnknownVersion with the existing versions, or how to make the int8 form.
    """
    canonical = canonical_name(name)
    if not canonical.endswith(INT8):
        found = _named([v for v in versions if v.base is None], canonical)
    else:
        found = _named([v.base or v for v in versions], canonical.removesuffix(INT8))
        if found is not None and found.int8 is None:
            raise UnknownVersion(
                f"version {found.number} of {model!r} has no int8 form; make it with "
                f"python -m training --quantize v{found.number} --data PATH"
            )
        found = found and found.int8
    if found is None:
        raise UnknownVersion(
            f"no version {name[:MOST_REPEATED]!r} of {model!r}; there is "
            f"{_there(versions)}"
        )
    return found


def models_meant(name: str, models: Sequence[str]) -> list[tuple[str, str]]:
    """The ones of `models` that a name may be of, and the name without its model."""
    model, own = split_name(name)
    if model is None:
        return [(each, own) for each in models]
    return [(model, own)] if model in models else []


def find_among(
    versions: Sequence[Version], name: str, *, models: Sequence[str]
) -> Version:
    """As find_version, but of one or several models, which `name` may name.

    Raises UnknownVersion, or AmbiguousVersion with the names that tell them apart.
    """
    found, unknown = [], []
    for model, own in models_meant(name, models):
        try:
            of_model = [v for v in versions if v.model == model]
            found.append(find_version(of_model, own, model=model))
        except UnknownVersion as error:
            unknown.append(str(error))
    if not found:
        others = (
            f"no version {name[:MOST_REPEATED]!r} here; the models here are "
            f"{', '.join(models)}"
        )
        raise UnknownVersion("; ".join(unknown) or others)
    check_unambiguous(name, [version.name for version in found])
    return found[0]


def check_unambiguous(name: str, found: Sequence[str]) -> None:
    """Raises AmbiguousVersion if `name` means several versions, of several models."""
    if len(found) > 1:
        raise AmbiguousVersion(
            f"several models have a version {name[:MOST_REPEATED]!r}; name one of "
            f"{', '.join(map(typed_name, found))}"
        )


def _named(versions: Sequence[Version], name: str) -> Version | None:
    """The version with this canonical name; `versions` has no int8 forms."""
    if name == LATEST:
        return max(versions, key=lambda v: int(v.number), default=None)
    if name.startswith("@"):
        named = (v for v in versions if name[1:] in v.aliases)
    else:
        named = (v for v in versions if v.number == name)
    return next(named, None)


def _there(versions: Sequence[Version]) -> str:
    forms = [f"v{v.number}" for v in with_int8_forms(versions) if v.base is not None]
    aliases = sorted({alias for version in versions for alias in version.aliases})
    return ", ".join([_ranges(versions), *forms, *(f"@{alias}" for alias in aliases)])


def _ranges(versions: Sequence[Version]) -> str:
    """Such as `v1 to v16` if no number is missing, else a list."""
    numbers = [int(version.number) for version in versions if version.base is None]
    if not numbers:
        return "none yet"
    if len(numbers) > 2 and numbers[-1] - numbers[0] == len(numbers) - 1:
        return f"v{numbers[0]} to v{numbers[-1]}"
    return ", ".join(f"v{number}" for number in numbers)
