"""`--shadow URL`: a report of the images of users on which two versions disagree."""

import contextlib
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from urllib.parse import quote

from classifier.bundle.labels import Labels
from classifier.console.exits import NotNow
from classifier.console.progress import progress_bar
from classifier.datasets.dataset import dataset_digest, file_sha256
from classifier.store.versions import typed_name
from compare.collect.client import Service, ServiceUnavailable
from compare.collect.collector import Side
from compare.collect.images import Images
from compare.collect.offline.files import labels_of
from compare.collect.schema import (
    Answer,
    ServedVersion,
    TopAnswer,
    shown_names,
    whole_number,
)
from compare.config.settings import CompareConfig, ShadowConfig
from compare.question import Question
from compare.report.draw import Drawn
from compare.results.wording import say_value
from compare.run import collect, report
from compare.statistics.paired import share

DATA_NAME = "shadow traffic"


class NothingKept(NotNow, RuntimeError):
    """The service has no shadow version, or has kept no image."""


@dataclass(frozen=True)
class KeptAnswer:
    """A version, and its likeliest classes of an image."""

    version: ServedVersion
    """Its labels are the classes of this answer alone."""

    probabilities: tuple[float, ...]

    @classmethod
    def of(cls, entry: Mapping[str, Any]) -> "KeptAnswer":
        """Raises KeyError, TypeError or ValueError if `entry` is none."""
        top = entry["top"]
        probabilities = tuple(float(each["probability"]) for each in top)
        if not all(0 <= each <= 1 for each in probabilities) or not top:
            raise ValueError("a probability outside 0..1, or none")
        labels = Labels(
            tuple(str(each["id"]) for each in top),
            tuple(str(each["name"]) for each in top),
        )
        version = ServedVersion(
            model=str(entry["model"]),
            number=str(entry["version"]),
            labels=labels,
            run_id=entry["run_id"],
            epoch=whole_number(entry["epoch"]),
            dataset_digest=entry["dataset_digest"],
        )
        return cls(version, probabilities)


@dataclass(frozen=True)
class KeptPair:
    """An image that a service has kept, and the answers of its two versions."""

    image: str
    default: KeptAnswer
    shadow: KeptAnswer

    @property
    def versions(self) -> tuple[tuple[str, str], tuple[str, str]]:
        """Models and numbers of both."""
        return self.default.version.key, self.shadow.version.key


@dataclass(frozen=True)
class KeptAnswers:
    """The answers of one version, as a source of a comparison."""

    url: str
    answers: Mapping[str, Answer]

    retries = 0
    reads_images = False

    def predict(
        self, images: Sequence[tuple[str, bytes]], versions: Sequence[ServedVersion]
    ) -> list[tuple[Answer, ...]]:
        return [(self.answers[name],) * len(versions) for name, _ in images]

    def hasty(self, patience_seconds: float) -> "KeptAnswers":
        return self

    def stop(self) -> None:
        """Nothing is under way."""

    def close(self) -> None:
        """Nothing is open."""


def compare_shadow(config: ShadowConfig) -> Drawn:
    """Draw the report of a comparison without labels; nothing is logged.

    The files lie in a temporary folder meanwhile. The report has small pictures.
    """
    started = time.time()
    service = Service(config.url, patience_seconds=config.patience, key=config.key)
    with contextlib.closing(service), tempfile.TemporaryDirectory() as folder:
        counts = service.read("/shadow")
        kept = _kept(service, counts)
        pairs = [pair for pair in kept if pair.versions == kept[-1].versions]
        images = _download(service, pairs, Path(folder))
        if not images.names:
            raise NothingKept(f"{service.url} has deleted its kept images; try again")
        images = replace(images, notes=_notes(counts, len(kept) - len(pairs)))
        a, b = _sides(service.url, pairs)
        settings = CompareConfig(
            a=a.version.asked,
            b=b.version.asked,
            out=config.out or _default_folder(a.version, b.version),
            fresh=config.fresh,
            show=config.show,
            summary_md=config.summary_md,
            exports=config.exports,
        )
        question = Question(images, a, b, class_map=(), seen={}, is_logged=False)
        collected = collect(question, settings)
        return report(collected, settings, started=started, seen={}, is_logged=False)


def _kept(service: Service, counts: Mapping[str, Any]) -> list[KeptPair]:
    """At least one, the oldest first. Raises NothingKept or ServiceUnavailable."""
    if counts.get("version") is None:
        raise NothingKept(
            f"{service.url} has no shadow version; start it with --shadow VERSION "
            f"--shadow-keep FOLDER"
        )
    if not counts.get("keeps_images"):
        raise NothingKept(
            f"{service.url} counts how often its shadow version disagrees "
            f"({service.url}/shadow) and keeps no images; start it with --shadow-keep "
            f"FOLDER too, which keeps pictures of users"
        )
    try:
        kept = [
            KeptPair(
                str(entry["image"]),
                KeptAnswer.of(entry["default"]),
                KeptAnswer.of(entry["shadow"]),
            )
            for entry in service.read("/shadow/images")["images"]
        ]
    except (KeyError, TypeError, ValueError) as error:
        raise ServiceUnavailable(
            f"{service.url}/shadow/images does not list images with two answers: "
            f"{error!r}"
        ) from error
    if not kept:
        raise NothingKept(
            f"{service.url} has kept no image yet ({_asked(counts)}); try again later"
        )
    return kept


def _asked(counts: Mapping[str, Any]) -> str:
    """How many images the shadow was asked, and the share of disagreements."""
    default, version = (typed_name(str(counts[k])) for k in ("default", "version"))
    images, differing = (whole_number(counts[k]) for k in ("images", "disagreements"))
    if images is None or not 0 <= (differing or 0) <= images:
        return "its counts cannot be read"
    rate = say_value(share(differing or 0, images), "percent") if images else "no image"
    return (
        f"of {images:,} images that {version} was asked after {default} in the last 24 "
        f"hours, the first answers differ on {rate}"
    )


def _download(service: Service, pairs: Sequence[KeptPair], folder: Path) -> Images:
    """The images that the service still has."""
    files: dict[str, Path] = {}
    with progress_bar("reading images", total=len(pairs)) as advance:
        for place, pair in enumerate(pairs):
            data = service.download(f"/shadow/images/{quote(pair.image, safe='')}")
            if data is not None:
                files[pair.image] = folder / str(place)  # its name is the service's
                files[pair.image].write_bytes(data)
            advance(1)
    digests = map(file_sha256, files.values())
    return Images(
        data_name=DATA_NAME,
        source=f"{service.url}/shadow/images",
        digest=dataset_digest(tuple(files), [""] * len(files), digests),
        available=len(files),
        names=tuple(files),
        files=tuple(files.values()),
        class_ids=None,
    )


def _notes(counts: Mapping[str, Any], others: int) -> tuple[str, ...]:
    """Notes of every report, without full stops."""
    notes = [
        f"only images on which the first answers differ are kept, so they differ on "
        f"all of these; {_asked(counts)}"
    ]
    if others:
        notes.append(f"{others:,} kept images of other pairs of versions are left out")
    return tuple(notes)


def _sides(url: str, pairs: Sequence[KeptPair]) -> tuple[Side, Side]:
    """Both versions with the classes that either has answered: a service takes only a
    shadow version that has the classes of its default version."""
    answers = [answer for pair in pairs for answer in (pair.default, pair.shadow)]
    names: dict[str, str] = {}
    for each in answers:
        labels = each.version.labels
        names |= dict(zip(labels.ids, labels.names, strict=True))
    labels = labels_of(sorted(names), names)

    def side(answer_of: Mapping[str, KeptAnswer], url: str) -> Side:
        version = replace(next(iter(answer_of.values())).version, labels=labels)
        answers: dict[str, Answer] = {
            image: TopAnswer(
                tuple(labels.index_of[id_] for id_ in answer.version.labels.ids),
                answer.probabilities,
            )
            for image, answer in answer_of.items()
        }
        return Side(version, KeptAnswers(url, answers))

    return (
        side({pair.image: pair.default for pair in pairs}, url),
        side({pair.image: pair.shadow for pair in pairs}, ""),  # the same service
    )


def _default_folder(a: ServedVersion, b: ServedVersion) -> Path:
    """`shadow-v8-v16`."""
    names = shown_names(a.key, b.key)
    return Path("-".join(["shadow", *(name.replace("/", "-") for name in names)]))
