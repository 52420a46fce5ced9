"""Collect both versions' answers to all images, a few requests at a time."""

from collections.abc import Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from pathlib import Path

from classifier.console.progress import Advance, progress_bar
from classifier.datasets.dataset import UnreadableImage, read_image
from compare.collect.answer_store import AnswerStore, PairOfAnswers
from compare.collect.client import Service
from compare.collect.images import Images
from compare.collect.schema import NoAnswer, ServedVersion

MAX_BATCH_BYTES = 32 * 1024 * 1024
"""Half of the largest request of the service: large photos go fewer at a time."""

UNREADABLE_FILE = "unreadable_file"
"""Code of an image whose file cannot be read; the next run tries again."""


def collect_answers(
    service: Service,
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
    missing = [
        bounds
        for bounds in batch_bounds([_size(file) for file in images.files], batch_size)
        if any(name not in store.kept for name in images.names[slice(*bounds)])
    ]
    versions = [a] if a.number == b.number else [a, b]

    def ask(start: int, end: int) -> dict[str, PairOfAnswers]:
        names, files = images.names[start:end], images.files[start:end]
        batch, unread = _read(names, files)
        answers = service.predict(batch, versions) if batch else []
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
                service.stop()


def _read(
    names: Sequence[str], files: Sequence[Path]
) -> tuple[list[tuple[str, bytes]], dict[str, PairOfAnswers]]:
    """Names and bytes of readable files; and the error of each other file."""
    batch: list[tuple[str, bytes]] = []
    unread: dict[str, PairOfAnswers] = {}
    for name, file in zip(names, files, strict=True):
        try:
            batch.append((name, read_image(file)))
        except UnreadableImage as error:
            why = NoAnswer(UNREADABLE_FILE, str(error))
            unread[name] = (why, why)
    return batch, unread


def _size(file: Path) -> int:
    """Size in bytes; 0 for a link that leads nowhere."""
    return file.stat().st_size if file.exists() else 0


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
