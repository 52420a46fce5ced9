"""Versions of a model, their int8 forms, and the ways in which people name one."""

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from unicodedata import category

from classifier.console.exits import WrongUsage

INT8 = ".int8"
"""Ends the name of a version's int8 form: `v16.int8`."""

INT8_TAG = "int8_"
"""A version's tags `int8_x` are the tags `x` of its int8 form."""

INT8_MODEL_ID = f"{INT8_TAG}model_id"
"""The tag that says that there is such a form; written after the others."""

LONGEST_NAME = 261
"""`@`, MLflow's longest alias (255), and INT8."""

MOST_REPEATED = 40
"""Characters of a name that is unknown, in the message about it."""

LATEST = "latest"

# Not 0*(\d+), which tries each way to share many zeros: 0.1 s for 4,000.
_NUMBER = re.compile(r"(?:@?[vV])?0*([1-9][0-9]*|0)")

_INHERITED = ("epoch", "dataset_name", "dataset_digest", "dataset_source")
"""Tags that hold for an int8 form too. What was measured does not, if not again."""


class UnknownModel(WrongUsage, LookupError):
    """No such registered model, or several and none was named."""


class UnknownVersion(WrongUsage, LookupError):
    """No such version or alias of the model."""


@dataclass(frozen=True, kw_only=True)
class Version:
    """An entry of the registry, or the int8 form that is stored beside one."""

    model: str
    number: str
    """`16`, or `16.int8` for an int8 form."""

    model_id: str | None
    """MLflow's logged model, which owns the files; None for a foreign version."""

    run_id: str | None = None
    aliases: tuple[str, ...] = ()
    tags: Mapping[str, str] = field(default_factory=dict)
    """As the registry has them. Anybody can write there, so programs read the
    properties below, which are None where a tag is absent or odd."""

    base: "Version | None" = None
    """Of an int8 form, the version it was made of: the entry that the registry has."""

    @property
    def epoch(self) -> int | None:
        tag = self._text("epoch") or ""
        # int() also takes signs, underscores, and more digits than JSON readers do.
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
        """None for an empty tag, and one with control characters or half a letter."""
        text = self.tags.get(tag)
        if not text or any(category(letter) in ("Cc", "Cs") for letter in text):
            return None
        return text

    def _number(self, tag: str, *, most: float) -> float | None:
        """Finite, 0 to `most`; JSON has no NaN and no infinity."""
        try:
            number = float(self._text(tag) or "")
        except ValueError:
            return None
        return number if math.isfinite(number) and 0 <= number <= most else None

    @property
    def int8(self) -> "Version | None":
        """Its int8 form, with the tags that were measured of it; None without one.

        Aliases stay with the version itself.
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
            base=self,
        )


def with_int8_forms(versions: Sequence[Version]) -> list[Version]:
    """Each version, and after it its int8 form if there is one."""
    forms = [form for v in versions for form in (v, v.int8) if form is not None]
    return list({version.number: version for version in forms}.values())


def canonical_name(asked: str) -> str:
    """The only spelling by which a name is looked up: `8`, `latest` or `@prod`, each
    also with `.int8`.

    Every way in (flags, queries, paths, messages between processes) comes through
    here. MLflow has no aliases `latest` and `v8`, but it has `8`: that one is `@8`.
    """
    if len(asked) > LONGEST_NAME:
        return asked  # which is no version's, nor any alias's
    if asked.lower().endswith(INT8):
        return f"{_canonical(asked[: -len(INT8)])}{INT8}"
    return _canonical(asked)


def _canonical(name: str) -> str:
    number = _NUMBER.fullmatch(name)
    if number is not None:
        return number[1]
    alias = name.removeprefix("@")
    return LATEST if alias.lower() == LATEST else f"@{alias}"


def find_version(versions: Sequence[Version], asked: str, *, model: str) -> Version:
    """The version that `asked` names: one of `versions`, or the int8 form of one.

    UnknownVersion says what there is, or how an int8 form is made.
    """
    name = canonical_name(asked)
    if not name.endswith(INT8):
        found = _named([v for v in versions if v.base is None], name)
    else:
        found = _named([v.base or v for v in versions], name.removesuffix(INT8))
        if found is not None and found.int8 is None:
            raise UnknownVersion(
                f"version {found.number} of {model!r} has no int8 form; make it with "
                f"python -m training --quantize v{found.number} --data PATH"
            )
        found = found and found.int8
    if found is None:
        raise UnknownVersion(
            f"no version {asked[:MOST_REPEATED]!r} of {model!r}; there is "
            f"{_there(versions)}"
        )
    return found


def _named(versions: Sequence[Version], name: str) -> Version | None:
    """`name` is canonical; none of `versions` is an int8 form."""
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
    """`v1 to v16` reads better than sixteen names, where nothing is missing."""
    numbers = [int(version.number) for version in versions if version.base is None]
    if not numbers:
        return "none yet"
    if len(numbers) > 2 and numbers[-1] - numbers[0] == len(numbers) - 1:
        return f"v{numbers[0]} to v{numbers[-1]}"
    return ", ".join(f"v{number}" for number in numbers)
