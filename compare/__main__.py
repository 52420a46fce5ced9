"""`python -m compare`: the story of a comparison, from two names to a verdict."""

import logging
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from classifier.dataset import BadDataset, Dataset, Part, part_digest
from classifier.registry import StoreUnavailable, UnknownModel
from classifier.versions import UnknownVersion
from compare.answers import AnswerStore, ForeignFolder, Identity, open_folder
from compare.client import Service, ServiceUnavailable, UnknownServed
from compare.collect import collect_answers
from compare.comparison import (
    Comparison,
    NotComparable,
    align,
    check_classes,
    check_coverage,
)
from compare.config import CompareConfig, parse_arguments
from compare.contract import ServedVersion
from compare.facts import DataFacts
from compare.files import (
    remove_results,
    write_per_class,
    write_per_image,
    write_run,
    write_summary,
)
from compare.sources import find_dataset, find_service
from compare.terminal_report import print_report, print_shown
from compare.verdict import Verdict, judge, refuse

PASSED, TRIPPED, WRONG_USAGE, NOT_NOW, OUR_FAULT, INTERRUPTED = 0, 1, 2, 3, 4, 130

VERDICT_CODES = {"pass": PASSED, "fail": TRIPPED, "not_comparable": NOT_NOW}

ERROR_CODES: dict[type[BaseException], int] = {
    BadDataset: WRONG_USAGE,
    ForeignFolder: WRONG_USAGE,
    UnknownModel: WRONG_USAGE,
    UnknownVersion: WRONG_USAGE,
    UnknownServed: WRONG_USAGE,
    ServiceUnavailable: NOT_NOW,
    StoreUnavailable: NOT_NOW,
    OSError: NOT_NOW,  # the disk is full or not writable
}


def compare_versions(config: CompareConfig) -> Verdict:
    """Asks both versions about every image; writes the files and prints the report."""
    started = time.time()
    with find_service(config) as service:
        a, b = service.version(config.a), service.version(config.b)
        dataset = find_dataset(config, a)
        images, digest = _wanted(dataset.val, config.limit), part_digest(dataset.val)
        folder = config.out or Path(f"compare-v{a.number}-v{b.number}")
        open_folder(folder, _identity(a, b, dataset, digest), fresh=config.fresh)
        if config.fresh:
            remove_results(folder)
        data = DataFacts(dataset.name, digest, labelled=True)
        notes = _notes(a, b, digest, asked=len(images), of=len(dataset.val))
        comparison: Comparison | None = None
        try:
            comparison = _ask(service, images, folder, config, a, b)
        except NotComparable as error:
            missing = error.missing
            verdict = refuse(
                [str(error)], a=a, b=b, gates=config.gates, notes=notes, data=data
            )
        else:
            missing = comparison.missing
            verdict = judge(
                comparison, a=a, b=b, gates=config.gates, notes=notes, data=data
            )
    if verdict.name == "not_comparable":
        remove_results(folder)  # rows of an earlier run beside a refusal would lie
        comparison = None
    write_summary(folder, verdict)
    write_run(folder, _facts(service, dataset, missing, started=started))
    if comparison is not None:
        write_per_image(folder, comparison)
        write_per_class(folder, verdict, comparison.labels)
    print_report(verdict, data=dataset.name, folder=folder)
    if comparison is not None and config.show:
        print_shown(comparison, config.show)
    return verdict


def _ask(
    service: Service,
    images: Part,
    folder: Path,
    config: CompareConfig,
    a: ServedVersion,
    b: ServedVersion,
) -> Comparison:
    """NotComparable where classes differ or more images than allowed have no answer."""
    check_classes(images.class_ids, a, b)
    with AnswerStore(folder) as store:
        collect_answers(
            service,
            images,
            store,
            a=a,
            b=b,
            batch_size=config.batch_size,
            concurrency=config.concurrency,
        )
        comparison = align(images.names, images.class_ids, store.kept, a=a, b=b)
    check_coverage(comparison, allow_missing=config.allow_missing)
    return comparison


def _wanted(val: Part, limit: int | None) -> Part:
    return val if limit is None else val.subset(range(min(limit, len(val))))


def _identity(
    a: ServedVersion, b: ServedVersion, dataset: Dataset, digest: str
) -> Identity:
    return Identity(
        model=a.model,
        a_version=a.number,
        a_run_id=a.run_id,
        b_version=b.number,
        b_run_id=b.run_id,
        dataset=dataset.name,
        dataset_digest=digest,
    )


def _notes(
    a: ServedVersion, b: ServedVersion, digest: str, *, asked: int, of: int
) -> list[str]:
    notes = [
        f"v{version.number} was validated on other data, "
        f"{version.dataset_digest[:12]}, here is {digest[:12]}"
        for version in {v.number: v for v in (a, b)}.values()
        if version.dataset_digest is not None and version.dataset_digest != digest
    ]
    if asked < of:
        notes.append(f"only the first {asked:,} of {of:,} images were asked")
    return notes


def _facts(
    service: Service,
    dataset: Dataset,
    missing: Mapping[str, str],
    *,
    started: float,
) -> dict[str, Any]:
    """run.json."""
    return {
        "started_unix_seconds": started,
        "seconds": time.time() - started,
        "url": service.url,
        "retries": service.retries,
        "data": dataset.source,
        "missing": dict(missing),
    }


def main(arguments: list[str]) -> int:
    config = parse_arguments(arguments)
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    try:
        return VERDICT_CODES[compare_versions(config).name]
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
