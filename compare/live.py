"""The story of a comparison, from two names to a verdict and what follows from it."""

import time
from pathlib import Path

from classifier.registry import Registry
from compare.answers import open_folder
from compare.asking import ask_service
from compare.comparison import Comparison
from compare.config import CompareConfig
from compare.contract import ServedVersion
from compare.drawing import Drawn, draw
from compare.files import remove_everything
from compare.images import Images
from compare.picturing import keep_pictures
from compare.promotion import promote
from compare.record import Record, keep_record
from compare.service_process import OwnService
from compare.sources import find_images, find_service
from compare.telling import tell
from compare.tracking import is_there_a_store, try_to_log


def compare_versions(config: CompareConfig, early: OwnService | None = None) -> Drawn:
    """Asks both about every image; writes, says and logs what follows from it.

    `early` is a service that is being started for it.
    """
    started = time.time()
    if config.promote is not None:
        Registry()  # that there is none is better said before all the asking
    with find_service(config, early) as service:
        a, b = service.version(config.a), service.version(config.b)
        images = find_images(config, a)
        folder = config.out or Path(f"compare-v{a.number}-v{b.number}")
        record = _open(folder, _record(config, images, a, b), fresh=config.fresh)
        found, measured = ask_service(service, images, folder, record, config)
    if isinstance(found, Comparison):
        keep_pictures(folder, images, found)
    facts = {
        "started_unix_seconds": started,
        "seconds": time.time() - started,
        "url": service.url,
        "retries": service.retries,
        "data": images.source,
        **measured,
    }
    drawn = draw(folder, record, found, gates=config.gates, facts=facts)
    tell(drawn, show=config.show, summary_md=config.summary_md)
    if not config.no_mlflow and is_there_a_store():
        try_to_log(drawn)
    if config.promote is not None:
        print(promote(drawn, config.promote))
    return drawn


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
        gates=config.gates,
        allow_missing=config.allow_missing,
    )


def _open(folder: Path, record: Record, *, fresh: bool) -> Record:
    """The folder is about this comparison then; ForeignFolder if it cannot be."""
    if fresh:
        remove_everything(folder)
    open_folder(folder, record.identity, fresh=fresh)
    return keep_record(folder, record)
