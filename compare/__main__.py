"""`python -m compare`: the story of a comparison, from two names to a verdict."""

import logging
import sys
import time
from pathlib import Path

from classifier.dataset import BadDataset
from classifier.registry import Registry, StoreUnavailable, UnknownModel
from classifier.versions import UnknownVersion
from compare.answers import ForeignFolder, open_folder, read_answers
from compare.asking import ask_service, keep_pictures
from compare.client import KeyRefused, ServiceUnavailable, UnknownServed
from compare.comparison import Comparison
from compare.config import (
    CompareConfig,
    MatrixConfig,
    RedrawConfig,
    parse_arguments,
)
from compare.drawing import Drawn, draw
from compare.files import remove_everything
from compare.record import Record, keep_record, read_record
from compare.redrawing import Unfinished, find_kept
from compare.sources import find_images, find_service
from compare.telling import tell

PASSED, TRIPPED, WRONG_USAGE, NOT_NOW, OUR_FAULT, INTERRUPTED = 0, 1, 2, 3, 4, 130

VERDICT_CODES = {"pass": PASSED, "fail": TRIPPED, "not_comparable": NOT_NOW}

ERROR_CODES: dict[type[BaseException], int] = {
    BadDataset: WRONG_USAGE,
    ForeignFolder: WRONG_USAGE,
    KeyRefused: WRONG_USAGE,
    UnknownModel: WRONG_USAGE,
    UnknownVersion: WRONG_USAGE,
    UnknownServed: WRONG_USAGE,
    ServiceUnavailable: NOT_NOW,
    StoreUnavailable: NOT_NOW,
    Unfinished: NOT_NOW,
    OSError: NOT_NOW,  # the disk is full or not writable
}


def compare_versions(config: CompareConfig) -> int:
    """Asks both about every image; writes, says and logs what follows from it."""
    started = time.time()
    if config.promote is not None:
        Registry()  # that there is none is better said before all the asking
    with find_service(config) as service:
        a, b = service.version(config.a), service.version(config.b)
        images = find_images(config, a)
        record = Record(
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
        folder = config.out or Path(f"compare-v{a.number}-v{b.number}")
        if config.fresh:
            remove_everything(folder)
        open_folder(folder, record.identity, fresh=config.fresh)
        record = keep_record(folder, record)
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
    _act(drawn, config)
    return VERDICT_CODES[drawn.verdict.name]


def _act(drawn: Drawn, config: CompareConfig) -> None:
    """In MLflow, whose client takes a second to import: after all has been said."""
    from compare.promotion import promote
    from compare.tracking import is_there_a_store, try_to_log

    if not config.no_mlflow and is_there_a_store():
        try_to_log(drawn)
    if config.promote is not None:
        print(promote(drawn, config.promote))


def redraw(config: RedrawConfig) -> int:
    """All reports again from what the folder keeps: no service, no data, no store."""
    record = read_record(config.folder)
    found, facts = find_kept(config.folder, record, read_answers(config.folder))
    gates = record.gates if config.gates is None else config.gates
    drawn = draw(config.folder, record, found, gates=gates, facts=facts)
    tell(drawn, show=config.show, summary_md=config.summary_md)
    return VERDICT_CODES[drawn.verdict.name]


def draw_all_pairs(config: MatrixConfig) -> int:
    from compare.matrix import draw_matrix

    return draw_matrix(config.versions, model=config.model, out=config.out)


def main(arguments: list[str]) -> int:
    config = parse_arguments(arguments)
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    try:
        match config:
            case CompareConfig():
                return compare_versions(config)
            case RedrawConfig():
                return redraw(config)
            case MatrixConfig():
                return draw_all_pairs(config)
    except KeyboardInterrupt:
        print("interrupted; the same command goes on from here", file=sys.stderr)
        return INTERRUPTED
    except tuple(ERROR_CODES) as error:
        print(f"error: {error}", file=sys.stderr)
        codes = (code for kind, code in ERROR_CODES.items() if isinstance(error, kind))
        return next(codes)
    except Exception:
        logging.getLogger(__name__).exception("a fault of flipside's")
        return OUR_FAULT


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
