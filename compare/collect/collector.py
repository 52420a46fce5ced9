"""Collect both versions' answers to all images, a few requests at a time."""

from collections.abc import Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, TypeVar

from classifier.console.progress import Advance, progress_bar
from classifier.datasets.dataset import UnreadableImage, read_image
from compare.collect.answer_store import AnswerStore, PairOfAnswers
from compare.collect.images import Images
from compare.collect.schema import Answer, NoAnswer, ServedVersion

S = TypeVar("S")

MAX_BATCH_BYTES = 32 * 1024 * 1024
"""Half of the largest request of the service: large photos go fewer at a time."""

UNREADABLE_FILE = "unreadable_file"
"""Code of an image whose file cannot be read; the next run tries again."""


class Source(Protocol):
    """A service or a file: it answers for one version, or for both."""

    @property
    def url(self) -> str:
        """Empty for a file."""

    @property
    def retries(self) -> int: ...

    @property
    def reads_images(self) -> bool:
        """False for a file of predictions, which needs the names alone."""

    def predict(
        self, images: Sequence[tuple[str, bytes]], versions: Sequence[ServedVersion]
    ) -> list[tuple[Answer, ...]]:
        """For each (name, file's bytes) the answer of each version, in their order."""

    def hasty(self, patience_seconds: float) -> "Source":
        """The same source with at most so much patience."""

    def stop(self) -> None:
        """End all retries in other threads."""

    def close(self) -> None: ...


@dataclass(frozen=True)
class Side:
    """A version and the source of its answers."""

    version: ServedVersion
    source: Source


class Sources:
    """The sources of all versions as one, by the keys of versions."""

    def __init__(self, source_of: Mapping[tuple[str, str], Source]) -> None:
        self._source_of = source_of
        self._all = list({id(each): each for each in source_of.values()}.values())

    @property
    def url(self) -> str:
        return ", ".join(filter(None, (source.url for source in self._all)))

    @property
    def retries(self) -> int:
        return sum(source.retries for source in self._all)

    @property
    def reads_images(self) -> bool:
        return any(source.reads_images for source in self._all)

    @property
    def are_services(self) -> bool:
        return all(source.url for source in self._all)

    def only(self, kind: type[S]) -> S | None:
        """The one source of all versions, if it is of this kind."""
        first, *others = self._all
        return first if not others and isinstance(first, kind) else None

    def predict(
        self, images: Sequence[tuple[str, bytes]], versions: Sequence[ServedVersion]
    ) -> list[tuple[Answer, ...]]:
        """One request to a source that answers for all `versions`."""
        if len(self._all) == 1:
            return self._all[0].predict(images, versions)
        answers = [
            self._source_of[version.key].predict(images, [version])
            for version in versions
        ]
        return [
            tuple(of_version[0] for of_version in row)
            for row in zip(*answers, strict=True)
        ]

    def hasty(self, patience_seconds: float) -> "Sources":
        hasty = {id(each): each.hasty(patience_seconds) for each in self._all}
        return Sources({key: hasty[id(each)] for key, each in self._source_of.items()})

    def stop(self) -> None:
        for source in self._all:
            source.stop()

    def close(self) -> None:
        for source in self._all:
            source.close()


def collect_answers(
    source: Source,
    images: Images,
    store: AnswerStore,
    *,
    a: ServedVersion,
    b: ServedVersion,
    batch_size: int,
    concurrency: int,
) -> None:
    """Add the answers that `store` lacks, batch by batch.

    Interruptions do not change the batches: a batch that lacks an answer is sent again
    whole. The last digits of an answer can depend on the images of its batch.
    """
    files = images.files if source.reads_images else (None,) * len(images)
    missing = [
        bounds
        for bounds in batch_bounds([_size(file) for file in files], batch_size)
        if any(name not in store.kept for name in images.names[slice(*bounds)])
    ]
    versions = [a] if a.key == b.key else [a, b]

    def ask(start: int, end: int) -> dict[str, PairOfAnswers]:
        batch, unread = _read(images.names[start:end], files[start:end])
        answers = source.predict(batch, versions) if batch else []
        answered = {
            name: (answer[0], answer[-1])
            for (name, _), answer in zip(batch, answers, strict=True)
        }
        return {**answered, **unread}

    done = len(images.names) - sum(end - start for start, end in missing)
    with (
        progress_bar(
            "asking both versions", total=len(images.names), done=done
        ) as advance,
        ThreadPoolExecutor(concurrency, "ask") as pool,
    ):
        under_way: set[Future[dict[str, PairOfAnswers]]] = set()
        try:
            for bounds in missing:
                if len(under_way) > concurrency:
                    under_way = _take(under_way, store, advance)
                under_way.add(pool.submit(ask, *bounds))
            while under_way:
                under_way = _take(under_way, store, advance)
        finally:
            for future in under_way:
                future.cancel()
            if under_way:  # an error ended the collection: stop the retries
                source.stop()


def _read(
    names: Sequence[str], files: Sequence[Path | None]
) -> tuple[list[tuple[str, bytes]], dict[str, PairOfAnswers]]:
    """Names and bytes of readable files; and the error of each other file.

    Without files the bytes are empty.
    """
    batch: list[tuple[str, bytes]] = []
    unread: dict[str, PairOfAnswers] = {}
    for name, file in zip(names, files, strict=True):
        try:
            batch.append((name, b"" if file is None else read_image(file)))
        except UnreadableImage as error:
            why = NoAnswer(UNREADABLE_FILE, str(error))
            unread[name] = (why, why)
    return batch, unread


def _size(file: Path | None) -> int:
    """Size in bytes; 0 without a file, and for a link that leads nowhere."""
    return file.stat().st_size if file is not None and file.exists() else 0


def _take(
    under_way: set[Future[dict[str, PairOfAnswers]]],
    store: AnswerStore,
    advance: Advance,
) -> set[Future[dict[str, PairOfAnswers]]]:
    """Store the finished answers; return the requests that are still under way."""
    done, rest = wait(under_way, return_when=FIRST_COMPLETED)
    for future in done:
        answers = future.result()
        store.add(answers)
        advance(len(answers))
    return rest


def batch_bounds(sizes: Sequence[int], most: int) -> list[tuple[int, int]]:
    """Start and end of each request: at most `most` images and MAX_BATCH_BYTES.

    `sizes` are in bytes. An image above the limit goes alone.
    """
    bounds = []
    start = total = 0
    for position, size in enumerate(sizes):
        is_full = position - start == most or total + size > MAX_BATCH_BYTES
        if is_full and position > start:
            bounds.append((start, position))
            start, total = position, 0
        total += size
    return [*bounds, (start, len(sizes))] if sizes else []
