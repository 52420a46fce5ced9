"""Which versions are served, and what the names mean by which they are asked for."""

import logging
from collections.abc import Collection, Iterator, Mapping
from typing import Any

from classifier.versions import (
    MOST_REPEATED,
    UnknownVersion,
    Version,
    find_version,
    with_int8_forms,
)
from serving.registry_watch import RegistryWatch

logger = logging.getLogger(__name__)

DEFAULT = ""
"""With `all`, the name of the version that answers if none is asked for."""

LOOK_AGAIN_SECONDS = 5.0
"""How long a request for a version that nobody knows yet waits for the registry."""


class ServedNames:
    """A list of names, and the version that each stands for; or all there are.

    Not locked: the dictionary is replaced and never changed.
    """

    def __init__(
        self, watch: RegistryWatch, *, model: str, listed: tuple[str, ...]
    ) -> None:
        """UnknownVersion where a listed version is not in the registry, or none is."""
        self._watch = watch
        self._model = model
        self.all = not listed
        self._listed = listed
        self._numbers = {n: self.target(n).number for n in listed or (DEFAULT,)}
        self._taken_away: frozenset[str] = frozenset()

    @property
    def numbers(self) -> list[str]:
        """Of the list; of `all`, the default alone."""
        return list(dict.fromkeys(self._numbers.values()))

    @property
    def wanted(self) -> list[str]:
        """What is loaded from the start: the list, or of `all` the default version."""
        return [*self._listed] or [self.target(DEFAULT).number]

    def resolve(self, asked: str | None) -> str:
        """The number of a version that is served; None asks for the default one.

        UnknownVersion lists what is served.
        """
        if not self.all:
            return self._resolve_listed(asked)
        name = self._numbers[DEFAULT] if asked is None else asked
        number = self.find(name).number
        if number in self._taken_away:
            raise UnknownVersion(
                f"version {number} is not served, it was taken away; POST "
                f"/versions/v{number} serves it again"
            )
        return number

    def has(self, number: str) -> bool:
        """Whether the version is served, loaded or not."""
        if self.all:
            return number not in self._taken_away
        return number in self._numbers.values()

    def stands_for(self, name: str) -> str | None:
        """The number, while that very name is served; with `all` it is every name.

        UnknownVersion with `all`, where the registry has no such version.
        """
        if not self.all:
            return self._numbers.get(name)
        number = self.find(name).number
        return number if self.has(number) else None

    def of(self, number: str) -> list[str]:
        """The names of a list that stand for it."""
        if self.all:
            return []
        return [name for name, other in self._numbers.items() if other == number]

    def find(self, asked: str) -> Version:
        """In the registry as last read; read again where it is not there.

        UnknownVersion lists what there is.
        """
        try:
            return find_version(self._watch.versions, asked, model=self._model)
        except UnknownVersion:
            self._watch.read_now(timeout_seconds=LOOK_AGAIN_SECONDS)
            return find_version(self._watch.versions, asked, model=self._model)

    def target(self, name: str) -> Version:
        """What a served name means in the registry now; of `all`, `best` or the latest.

        UnknownVersion where an alias is gone.
        """
        known = self._watch.versions
        if name != DEFAULT:
            return find_version(known, name, model=self._model)
        best = (version for version in known if "best" in version.aliases)
        return next(best, None) or find_version(known, "latest", model=self._model)

    def moved(self) -> Iterator[tuple[str, Version]]:
        """Names whose version has changed in the registry, and to which."""
        for name, number in self._numbers.items():
            try:
                target = self.target(name)
            except UnknownVersion:
                continue  # the alias is gone; what it named is still served
            if target.number != number:
                yield name, target

    def move(self, name: str, number: str) -> None:
        self._numbers = {**self._numbers, name: number}

    def add(self, asked: str, number: str) -> None:
        self._taken_away -= {number}
        if not self.all:
            self.move(asked, number)

    def remove(self, number: str, names: Collection[str]) -> None:
        """The names of a list; with `all` the version."""
        if self.all:
            self._taken_away |= {number}
        else:
            self._numbers = {k: v for k, v in self._numbers.items() if k not in names}

    def state(self) -> dict[str, Any]:
        """For another process of the same service; JSON."""
        return {"numbers": self._numbers, "taken_away": sorted(self._taken_away)}

    def adopt(self, state: Mapping[str, Any]) -> None:
        """Serves what another process serves, and the registry still has.

        A name whose version is gone stands for what it stood for here, if anything.
        """
        numbers = {n: self._known(n, number) for n, number in state["numbers"].items()}
        self._numbers = {n: number for n, number in numbers.items() if number}
        self._taken_away = frozenset(state["taken_away"])

    def _known(self, name: str, number: str) -> str | None:
        try:
            return self.find(number).number
        except UnknownVersion as error:
            logger.warning("not taken over name=%s reason=%s", name, error)
            return self._numbers.get(name)

    def _resolve_listed(self, asked: str | None) -> str:
        numbers = self._numbers
        if asked is None and numbers:
            return next(iter(numbers.values()))
        if asked in numbers:
            return numbers[asked]
        served = set(numbers.values())
        plain = (asked or "").lower().removeprefix("v")
        if plain in served:  # also where the registry has it no more
            return plain
        known = [v for v in with_int8_forms(self._watch.versions) if v.number in served]
        try:
            number = find_version(known, asked or "", model=self._model).number
        except UnknownVersion:
            number = ""
        if number not in served:  # nothing, or the int8 form of one that is served
            known_as = ", ".join(f"v{n}" for n in self.numbers) or "none"
            raise UnknownVersion(
                f"version {(asked or 'default')[:MOST_REPEATED]!r} is not served; this "
                f"service answers with {known_as}; see GET /versions"
            )
        return number
