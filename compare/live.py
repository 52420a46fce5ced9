"""The story of a comparison, from two names to a verdict and what follows from it."""

import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from classifier.plain_text import printable
from classifier.store import is_there_a_store
from compare.answers import open_folder
from compare.asking import ask_service
from compare.comparison import Comparison
from compare.config import CompareConfig
from compare.contract import ServedVersion
from compare.drawing import Drawn, draw
from compare.files import remove_everything
from compare.image_facts import Look, look_at
from compare.images import Images
from compare.importing import importing
from compare.picturing import keep_pictures
from compare.record import Record, keep_record
from compare.service_process import OwnService
from compare.sources import find_images, find_service, own_images
from compare.telling import copy_summary, tell


def compare_versions(config: CompareConfig, early: OwnService | None = None) -> Drawn:
    """Asks both about every image; writes, says and logs what follows from it.

    `early` is a service that is being started for it.
    """
    started = time.time()
    images: Images | None = None
    follow: Sequence[Callable[[Drawn], None]] = ()
    seen: Mapping[str, Look] = {}
    if early is not None:  # meanwhile; another's is asked first whether it is there
        follow = _followers(config)
        images = own_images(config, model=config.model, version=config.a)
        seen = look_at(
            images.names,
            images.files,
            max_megapixels=config.max_megapixels,
            until=early.has_started,
        )
    with find_service(config, early) as service:
        a, b = service.version(config.a), service.version(config.b)
        images = images or find_images(config, a)
        follow = follow or _followers(config)
        folder = config.out or Path(f"compare-v{a.number}-v{b.number}")
        record = _open(folder, _record(config, images, a, b), fresh=config.fresh)
        found, measured = ask_service(service, images, folder, record, config)
    if isinstance(found, Comparison):
        keep_pictures(
            folder, images, found, seen=seen, max_megapixels=config.max_megapixels
        )
    facts = {
        "started_unix_seconds": started,
        "seconds": time.time() - started,
        "url": service.url,
        "retries": service.retries,
        "data": images.source,
        **measured,
    }
    drawn = draw(folder, record, found, gates=config.gates, facts=facts)
    tell(drawn, show=config.show)
    try:
        for act in follow:
            act(drawn)
    finally:
        copy_summary(drawn, config.summary_md)
    return drawn


def _followers(config: CompareConfig) -> Sequence[Callable[[Drawn], None]]:
    """What is done in the store at the end.

    StoreUnavailable where there is none to promote in: better said before the asking.
    """
    follow: list[Callable[[Drawn], None]] = []
    with importing():  # MLflow takes a second
        if not config.no_mlflow and is_there_a_store():
            from compare.tracking import try_to_log

            follow.append(try_to_log)
        if (alias := config.promote) is not None:
            from classifier.registry import Registry
            from compare.promotion import promote

            Registry()
            follow.append(lambda drawn: print(printable(promote(drawn, alias))))
    return follow


def _record(
    config: CompareConfig, images: Images, a: ServedVersion, b: ServedVersion
) -> Record:
    return Record(
        a=a,
        b=b,
        data_name=images.data_name,
        data_digest=images.digest,
        names=images.names,
        class_ids=images.class_ids,
        available=images.available,
        data_notes=images.notes,
        gates=config.gates,
        allow_missing=config.allow_missing,
    )


def _open(folder: Path, record: Record, *, fresh: bool) -> Record:
    """The folder is about this comparison then; ForeignFolder if it cannot be."""
    if fresh:
        remove_everything(folder)
    open_folder(folder, record.identity, fresh=fresh)
    return keep_record(folder, record)
