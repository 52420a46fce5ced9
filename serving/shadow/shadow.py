"""A shadow version is asked what the default version answered, when nobody waits."""

import logging
import os
import random
import threading
import time
from collections import deque
from collections.abc import Callable, Collection, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from classifier.bundle.labels import Labels
from classifier.images.decoding import decode_image
from classifier.images.resizing import Resizing
from classifier.inference.predict import Prediction, top_classes
from classifier.store.registry import Registry
from classifier.store.versions import (
    Version,
    qualified,
    split_name,
)
from serving.config import METRICS_FOLDER_VARIABLE, ServingConfig
from serving.inference.native import run_natively
from serving.inference.predictor import Predictor
from serving.inference.requests import Images, Inference, Logits
from serving.metrics import Metrics
from serving.shadow.counts import HourlyCounts, Pair, Rate, Result, summed
from serving.shadow.kept import KeptImages
from serving.shadow.version import ShadowVersion
from serving.versions.loading import model_of
from serving.versions.pool import PredictorPool
from serving.versions.registry_watch import RegistryWatch

logger = logging.getLogger(__name__)

QUEUED_IMAGES = 64
QUEUED_BYTES = 64 * 2**20
"""Most that waits for the shadow; what comes beyond either is dropped."""

QUIET_SECONDS = 0.01
"""Time without a request in work before the shadow is asked. A closed loop of clients
leaves no such pause, so that under full load nothing is asked."""

ANSWER_SECONDS = 30.0

TOP = 5
"""Classes of each answer that are kept with an image."""


@dataclass(frozen=True)
class Asked:
    """An image that the default version has answered."""

    pixels: Images
    """Shape [1, H, W, 3]."""

    file: bytes | None
    """As it was sent; None if it is not needed, or pixels were sent."""

    resizing: Resizing
    version: Version
    labels: Labels
    logits: Logits
    """Shape [1, K]."""

    @property
    def size(self) -> int:
        """Number of bytes."""
        return self.pixels.nbytes + len(self.file or b"")


class Shadow:
    """Asks the shadow version in one thread, image by image.

    `with shadow:` goes around the work for a user's request, in which the shadow is
    not asked. An alias is followed. A version that cannot be loaded is tried again, and
    no request notices.
    """

    def __init__(
        self,
        version: ShadowVersion,
        pool: PredictorPool,
        *,
        rate: float,
        follow_seconds: float,
        max_megapixels: float,
        counts: HourlyCounts,
        kept: KeptImages | None,
        observe: Callable[[Pair, Result, int], None],
    ) -> None:
        """`observe` gets each count."""
        self.rate = rate
        self.kept = kept
        self.counts = counts
        self._version = version
        self._pool = pool
        self._follow_seconds = follow_seconds
        self._max_megapixels = max_megapixels
        self._observe = observe
        self._in_work: list[None] = []  # a list, as `+=` is not atomic
        self._quiet_since = 0.0
        self._queue: deque[Asked] = deque()
        self._queued_bytes = 0
        self._changed = threading.Condition()
        self._is_closed = False
        self._thread = threading.Thread(target=self._run, name="shadow", daemon=True)

    def start(self) -> None:
        """Starts the thread, which loads the version when the pool is ready."""
        self._thread.start()

    def close(self) -> None:
        """Ends the thread; the pool must be ready, or it would not end."""
        with self._changed:
            self._is_closed = True
            self._changed.notify()
        self._thread.join()
        self._version.unload()

    def __enter__(self) -> None:
        self._in_work.append(None)

    def __exit__(self, *error: object) -> None:
        self._quiet_since = time.monotonic()
        self._in_work.pop()

    def samples(self, predictors: Sequence[Predictor]) -> bool:
        """Whether the shadow gets this request of a user too; drawn anew at each call.

        Only requests that the default version answers alone: a comparison of versions
        is no traffic.
        """
        if random.random() >= self.rate or len(predictors) != 1:
            return False
        (default,) = predictors
        is_default = [default.version.name] == self._pool.names.numbers[:1]
        return is_default and self._version.fits(default)

    def offer(
        self,
        files: Sequence[bytes] | None,
        default: Predictor,
        pixels: Images,
        undecoded: Collection[int],
        answer: Inference,
    ) -> None:
        """Queues the images of an answered request, as far as there is room.

        `files` are all images of the request, `pixels` those that are not `undecoded`.
        """
        shadow = self._version.predictor
        if shadow is None:
            return
        needs_files = self.kept is not None or shadow.resizing != default.resizing
        places = [p for p in range(len(answer.logits)) if p not in undecoded]
        dropped = 0
        for image, place in zip(pixels, places, strict=True):
            if place in answer.failures:
                continue
            asked = Asked(
                image[None].copy(),  # so that the request's other images are freed
                files[place] if files is not None and needs_files else None,
                default.resizing,
                default.version,
                default.bundle.labels,
                answer.logits[place : place + 1].copy(),
            )
            dropped += not self._has_queued(asked)
        if dropped:
            pair = default.version.name, shadow.version.name
            self._count(pair, "dropped", dropped)

    def _has_queued(self, asked: Asked) -> bool:
        """Whether there was room."""
        with self._changed:
            size = self._queued_bytes + asked.size
            if len(self._queue) >= QUEUED_IMAGES or size > QUEUED_BYTES:
                return False
            self._queue.append(asked)
            self._queued_bytes = size
            self._changed.notify()
            return True

    def to_json(self) -> dict[str, Any]:
        version, default = self._version, next(iter(self._pool.names.numbers), "")
        hours = self.counts.hours()
        return {
            "version": version.name,
            "default": default,
            "state": version.state,
            "reason": version.reason(default),
            "rate": self.rate,
            "keeps_images": self.kept is not None,
            **summed(hours, (default, version.name)).to_json(),
            "hours": [hour.to_json() for hour in hours],
        }

    def rates(self) -> dict[Pair, Rate]:
        """Disagreement rates of this hour."""
        hours = self.counts.hours()
        return {h.pair: h.counts.rate for h in hours if h.number == self.counts.hour}

    def _run(self) -> None:
        """Never ends by an error: nothing would be asked any more."""
        self._pool.wait_until_ready()
        follow_at = time.monotonic()
        while not self._is_closed:
            try:
                if time.monotonic() >= follow_at:
                    follow_at = time.monotonic() + self._follow_seconds
                    self._version.follow()
                self._ask_next(until=follow_at)
            except Exception:
                logger.exception("the shadow was not asked")

    def _ask_next(self, *, until: float) -> None:
        """Waits for an image and a quiet moment until a time of time.monotonic()."""
        with self._changed:
            left = max(0.0, until - time.monotonic())
            self._changed.wait_for(lambda: self._queue or self._is_closed, left)
        if not self._queue or not self._is_quiet(until=until):
            return
        with self._changed:
            asked = self._queue.popleft()
            self._queued_bytes -= asked.size
        shadow = self._version.predictor
        if shadow is not None and not self._is_closed:
            self._ask(asked, shadow)

    def _is_quiet(self, *, until: float) -> bool:
        """Waits until no request has been in work for QUIET_SECONDS."""
        while not self._is_closed:
            now = time.monotonic()
            quiet_at = QUIET_SECONDS + (now if self._in_work else self._quiet_since)
            if now >= min(quiet_at, until):
                return now >= quiet_at
            time.sleep(min(quiet_at, until) - now)
        return False

    def _ask(self, asked: Asked, shadow: Predictor) -> None:
        pair = asked.version.name, shadow.version.name
        try:
            pixels = self._pixels_for(shadow, asked)
            deadline = time.monotonic() + ANSWER_SECONDS
            future = shadow.batcher.submit(pixels, deadline=deadline)
            answer = future.result(ANSWER_SECONDS)
            for failure in answer.failures.values():
                raise failure
        except Exception as error:  # of any kind: it is of no user's request
            logger.warning("the shadow failed version=%s reason=%r", pair[1], error)
            self._count(pair, "failed")
            return
        first = _top(asked.labels, asked.logits)
        second = _top(shadow.bundle.labels, answer.logits)
        agrees = first[0].id == second[0].id
        self._count(pair, "agreed" if agrees else "disagreed")
        if not agrees and self.kept is not None:
            answers = {
                "default": _entry(asked.version, first),
                "shadow": _entry(shadow.version, second),
            }
            run_natively(self.kept.add, asked.file, asked.pixels[0], answers)

    def _pixels_for(self, shadow: Predictor, asked: Asked) -> Images:
        """Raises UndecodableImage, or NoFile if pixels of another size were sent."""
        if asked.file is None and asked.pixels.shape[1:3] != shadow.size:
            raise NoFile(f"it takes {shadow.size}, and pixels of another size came")
        if asked.file is None or shadow.resizing == asked.resizing:
            return asked.pixels
        image = run_natively(
            decode_image, asked.file, max_megapixels=self._max_megapixels
        )
        return run_natively(shadow.resizing, image)[None]

    def _count(self, pair: Pair, result: Result, images: int = 1) -> None:
        self._observe(pair, result, images)
        try:
            self.counts.add(pair, result, images)
        except OSError as error:  # no room in the folder of metrics
            logger.error("not counted reason=%s", error)


class NoFile(ValueError):
    """The shadow cannot be asked without the image's file."""


def _top(labels: Labels, logits: Logits) -> tuple[Prediction, ...]:
    return top_classes(labels, logits, min(TOP, len(labels)))[0]


def _entry(version: Version, top: tuple[Prediction, ...]) -> dict[str, Any]:
    return {
        "model": version.model,
        "version": version.number,
        "run_id": version.run_id,
        "epoch": version.epoch,
        "dataset_digest": version.dataset_digest,
        "top": [asdict(each) for each in top],
    }


def open_shadow(
    config: ServingConfig, pool: PredictorPool, metrics: Metrics
) -> Shadow | None:
    """The shadow of --shadow, started; None without it.

    Raises UnknownModel, UnknownVersion, UnfitShadow, or an error of --shadow-keep. What
    fails later does not stop the service.
    """
    if config.shadow is None:
        return None
    model, name = split_name(config.shadow)
    model, watch = model or config.model or pool.model, pool.watch
    if model not in watch.models:
        # Not one of the pool's: their versions would be named with their models.
        registry = Registry(natively=run_natively)
        model = model_of(registry, model)
        watch = RegistryWatch(registry, model, every_seconds=config.follow_seconds)
        watch.start(lambda: None)
    folder = os.environ.get(METRICS_FOLDER_VARIABLE)
    version = ShadowVersion(pool, qualified(model, name), watch)
    if model != pool.model:
        version.check_classes()
    shadow = Shadow(
        version,
        pool,
        rate=config.shadow_rate,
        follow_seconds=config.follow_seconds,
        max_megapixels=config.max_megapixels,
        counts=HourlyCounts(None if folder is None else Path(folder)),
        kept=None if config.shadow_keep is None else KeptImages(config.shadow_keep),
        observe=metrics.count_shadow,
    )
    shadow.start()
    return shadow
