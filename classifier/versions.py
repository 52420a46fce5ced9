"""Versions of a model, and the ways in which people name one."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field


class UnknownVersion(LookupError):
    """No such version or alias of the model."""


@dataclass(frozen=True, kw_only=True)
class Version:
    """An entry of the registry."""

    model: str
    number: str
    model_id: str | None
    """MLflow's logged model, which owns the files; None for a foreign version."""

    run_id: str | None = None
    aliases: tuple[str, ...] = ()
    tags: Mapping[str, str] = field(default_factory=dict)

    @property
    def epoch(self) -> int | None:
        return int(self.tags["epoch"]) if "epoch" in self.tags else None

    @property
    def val_top1_accuracy(self) -> float | None:
        """A fraction, 0..1."""
        tag = self.tags.get("val_top1_accuracy")
        return None if tag is None else float(tag)


def find_version(versions: Sequence[Version], asked: str, *, model: str) -> Version:
    """The one of `versions`, by rising number, that a user means by `asked`.

    UnknownVersion says what there is.
    """
    number = re.fullmatch(r"[vV]?0*(\d+)", asked)
    if number is not None:
        found = [version for version in versions if version.number == number[1]]
    elif asked.lower() == "latest":
        found = list(versions[-1:])
    else:
        alias = asked.removeprefix("@")
        found = [version for version in versions if alias in version.aliases]
    if not found:
        aliases = sorted({alias for version in versions for alias in version.aliases})
        there = ", ".join([_ranges(versions), *(f"@{alias}" for alias in aliases)])
        raise UnknownVersion(f"no version {asked!r} of {model!r}; there is {there}")
    return found[0]


def _ranges(versions: Sequence[Version]) -> str:
    """`v1 to v16` reads better than sixteen names, where nothing is missing."""
    numbers = [int(version.number) for version in versions]
    if not numbers:
        return "none yet"
    if len(numbers) > 2 and numbers[-1] - numbers[0] == len(numbers) - 1:
        return f"v{numbers[0]} to v{numbers[-1]}"
    return ", ".join(f"v{number}" for number in numbers)
