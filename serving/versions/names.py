"""Served names, the versions that they mean, and the moves between versions."""

import logging
import threading
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from classifier.store.versions import (
    INT8,
    LATEST,
    MOST_REPEATED,
    UnknownVersion,
    Version,
    canonical_name,
    check_unambiguous,
    find_among,
    models_meant,
    qualified,
    split_name,
    typed_name,
    with_int8_forms,
)
from serving.versions.registry_watch import RegistryWatch

logger = logging.getLogger(__name__)

DEFAULT = ""
"""With `all`, the internal name of the default version."""

LOOK_AGAIN_SECONDS = 5.0
"""How long a request for an unknown version waits for a reading of the registry."""


class ServedNames:
    """A list of names and the version that each means; or all versions of one model.

    Names are canonical here, and `numbers` are names of versions: `8`, or `birds/8` of
    one of several models. A name that is followed means the version that is served
    under it; the registry's newer version counts only when it is loaded.

    There is no lock: the dictionary is replaced and never changed.
    """

    def __init__(
        self, watch: RegistryWatch, *, model: str, listed: tuple[str, ...]
    ) -> None:
        """Raises UnknownVersion if a listed version, or any, is not in the registry.

        A listed name without a model is of `model`.
        """
        self._watch = watch
        self.all = not listed
        names = dict[str, str]()
        for listed_name in listed:
            own, name = split_name(listed_name)
            version = self.target(qualified(own or model, name))
            names[version.qualified(canonical_name(name))] = version.name
        self._listed = tuple(names)
        self._numbers = names or {DEFAULT: self.target(DEFAULT).name}
        self._taken_away: frozenset[str] = frozenset()

    @property
    def versions(self) -> Sequence[Version]:
        """The registry's versions as last read, but with followed aliases at the
        versions that are served under them."""
        followed = {
            name: number
            for name, number in self._numbers.items()
            if split_name(name)[1].startswith("@") and not name.endswith(INT8)
        }
        known = self._watch.versions
        return [_as_followed(v, followed) for v in known] if followed else known

    @property
    def numbers(self) -> list[str]:
        """Numbers of the listed versions; with `all`, of the default alone."""
        return list(dict.fromkeys(self._numbers.values()))

    def wanted(self, model: str) -> list[str]:
        """The listed names of a model; with `all`, the number of the default."""
        return [n for n in self._listed if self._is_of(n, model)] or self.numbers[:1]

    @property
    def default_model(self) -> str:
        """The model of the version that answers where none is named."""
        first = next(iter(self._numbers.values()), "")
        return split_name(first)[0] or self._watch.models[0]

    def default_of(self, model: str) -> str | None:
        """The first served name of a model; None, the default, if it is the only one.

        Raises UnknownVersion.
        """
        if not self._is_several:
            return None
        for name in self._numbers:
            if self._is_of(name, model):
                return name
        raise UnknownVersion(f"no version of {model!r} is served; {self._known_as()}")

    def of_model(self, model: str, name: str) -> str:
        """A name that is meant of this model, as it holds here."""
        return qualified(model, name) if self._is_several else name

    def spelling(self, name: str) -> str:
        """The one spelling of a served name. Raises UnknownVersion or
        AmbiguousVersion."""
        model, own = split_name(canonical_name(name))
        if not self._is_several:
            return own if model in (None, *self._watch.models) else name
        return qualified(model or split_name(self.resolve(name))[0] or "", own)

    @property
    def _is_several(self) -> bool:
        return len(self._watch.models) > 1

    def _is_of(self, name: str, model: str) -> bool:
        return not self._is_several or split_name(name)[0] == model

    def resolve(self, name: str | None) -> str:
        """The number of a served version; of the default one if `name` is None.

        Raises UnknownVersion with the list of served versions, or AmbiguousVersion.
        """
        if not self.all:
            number = self._served(name)
            if number is None:
                raise UnknownVersion(
                    f"version {(name or 'default')[:MOST_REPEATED]!r} is not served; "
                    f"{self._known_as()}"
                )
            return number
        number = self.find(self._numbers[DEFAULT] if name is None else name).name
        if number in self._taken_away:
            raise UnknownVersion(
                f"version {number} is not served, it was taken away; POST "
                f"/versions/v{number} serves it again"
            )
        return number

    def _known_as(self) -> str:
        known_as = ", ".join(map(typed_name, self.numbers)) or "none"
        return f"this service answers with {known_as}; see GET /versions"

    def has(self, number: str) -> bool:
        """Whether the version is served, loaded or not."""
        if self.all:
            return number not in self._taken_away
        return number in self._numbers.values()

    def stands_for(self, name: str) -> str | None:
        """The number that a served name means, else None; with `all` every name is
        served.

        With `all`, raises UnknownVersion if the registry has no such version.
        """
        if not self.all:
            return self._numbers.get(name)
        number = self.find(name).name
        return number if self.has(number) else None

    def of(self, number: str) -> list[str]:
        """The listed names that mean the version."""
        if self.all:
            return []
        return [name for name, other in self._numbers.items() if other == number]

    def meaning(self, name: str) -> str:
        """The number that a name means here, served or not. Raises UnknownVersion."""
        served = None if self.all else self._served(name)
        return self.find(name).name if served is None else served

    def find(self, name: str) -> Version:
        """The version in `versions`; reads the registry again if it is missing.

        Raises UnknownVersion with the list of versions, or AmbiguousVersion.
        """
        number = name.removeprefix("v")
        for version in self.versions:
            if version.name == number:  # the usual case, without parsing the name
                return version
        try:
            return self._find_in(self.versions, name)
        except UnknownVersion:
            # An int8 form is only tags, and only a full reading sees changed tags.
            is_int8 = canonical_name(name).endswith(INT8)
            self._watch.read_now(whole=is_int8, timeout_seconds=LOOK_AGAIN_SECONDS)
            return self._find_in(self.versions, name)

    def in_registry(self, name: str) -> Version:
        """The version that the name means in the registry, even if another is served
        under it. Raises UnknownVersion or AmbiguousVersion."""
        self.find(name)  # reads the registry again if necessary
        return self._find_in(self._watch.versions, name)

    def target(self, name: str) -> Version:
        """The version that a served name means in the registry now; for the default of
        `all`, `best` or the latest. Raises UnknownVersion if the alias is gone.
        """
        known = self._watch.versions
        if name != DEFAULT:
            return self._find_in(known, name)
        best = (version for version in known if "best" in version.aliases)
        return next(best, None) or self._find_in(known, LATEST)

    def _find_in(self, versions: Sequence[Version], name: str) -> Version:
        """Raises UnknownVersion or AmbiguousVersion."""
        return find_among(versions, name, models=self._watch.models)

    def moved(self) -> Iterator[tuple[str, Version]]:
        """Names whose version has changed in the registry, and the new version."""
        for name, number in self._numbers.items():
            try:
                target = self.target(name)
            except UnknownVersion:
                continue  # the alias is gone; its version is still served
            if target.name != number:
                yield name, target

    def kept(self, number: str) -> dict[str, str]:
        """Names that mean this version in the registry and still mean another here,
        with the other's number."""
        return {
            name: self._numbers[name]
            for name, target in self.moved()
            if target.name == number
        }

    @property
    def is_default_kept(self) -> bool:
        """Whether the default of `all` is another version than `best`, else the
        latest."""
        return any(name == DEFAULT for name, _ in self.moved())

    def newest(self, most: int, *, but: str) -> list[Version]:
        """The newest versions that are not removed, without `but`."""
        others = [v for v in self._watch.versions if v.name != but]
        there = [v for v in others if v.name not in self._taken_away]
        return sorted(there, key=lambda v: int(v.number), reverse=True)[:most]

    def move(self, name: str, number: str) -> None:
        self._numbers = {**self._numbers, name: number}

    def add(self, name: str, version: Version) -> None:
        self._taken_away -= {version.name}
        if not self.all:
            own = canonical_name(split_name(name)[1])
            self.move(version.qualified(own), version.name)

    def remove(self, number: str, names: Collection[str]) -> None:
        """Removes listed names; with `all`, the version."""
        if self.all:
            self._taken_away |= {number}
        else:
            self._numbers = {k: v for k, v in self._numbers.items() if k not in names}

    def state(self) -> dict[str, Any]:
        """The served versions as JSON, for another process of the same service."""
        return {"numbers": self._numbers, "taken_away": sorted(self._taken_away)}

    def adopt(self, state: Mapping[str, Any]) -> None:
        """Takes over the state of another process.

        A name whose version is not in the registry keeps its meaning here, if any.
        """
        numbers = {n: self._known(n, number) for n, number in state["numbers"].items()}
        self._numbers = {n: number for n, number in numbers.items() if number}
        self._taken_away = frozenset(state["taken_away"])

    def _known(self, name: str, number: str) -> str | None:
        try:
            return self.find(number).name
        except UnknownVersion as error:
            logger.warning("not taken over name=%s reason=%s", name, error)
            return self._numbers.get(name)

    def _served(self, name: str | None) -> str | None:
        """The number that a listed name means; None if it is not served.

        Raises AmbiguousVersion if several models have such a served version.
        """
        if name is None:
            return next(iter(self._numbers.values()), None)
        models = models_meant(name, self._watch.models)
        served = [self._served_of(model, own) for model, own in models]
        found = [number for number in served if number is not None]
        check_unambiguous(name, found)
        return found[0] if found else None

    def _served_of(self, model: str, own: str) -> str | None:
        numbers, served = self._numbers, set(self._numbers.values())
        name = self.of_model(model, canonical_name(own))
        if name in numbers:
            return numbers[name]
        if name in served:  # even if it was deleted from the registry
            return name
        known = [v for v in with_int8_forms(self.versions) if v.name in served]
        try:
            number = self._find_in(known, qualified(model, own)).name
        except UnknownVersion:
            return None
        # Else it is the int8 form of a served version.
        return number if number in served else None


def _as_followed(version: Version, followed: Mapping[str, str]) -> Version:
    """The version with the aliases of `followed`, from qualified names to versions."""
    own, of_model = version.name, version.qualified("@")
    aliases = {
        alias
        for alias in version.aliases
        if followed.get(f"{of_model}{alias}", own) == own
    }
    aliases |= {
        name.removeprefix(of_model)
        for name, number in followed.items()
        if number == own
    }
    if aliases == set(version.aliases):
        return version
    return replace(version, aliases=tuple(sorted(aliases)))


class Moves:
    """Threads that move names, so that a slow load delays neither other moves nor the
    reading of the registry."""

    def __init__(self) -> None:
        self._under_way: set[str] = set()
        self._changing = threading.Lock()

    def start(self, name: str, move: Callable[[], None]) -> threading.Thread | None:
        """Starts a move; None if the name is moving already (the next reading checks
        it)."""
        with self._changing:
            if name in self._under_way:
                return None
            self._under_way.add(name)
        thread = threading.Thread(
            target=self._run, args=(name, move), name="follow", daemon=True
        )
        thread.start()
        return thread

    def _run(self, name: str, move: Callable[[], None]) -> None:
        try:
            move()
        except Exception:
            logger.exception("not followed name=%s", name or "default")
        finally:
            with self._changing:
                self._under_way.discard(name)
