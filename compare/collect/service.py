"""Where the answers and the images come from, when the user does not say."""

import base64
import contextlib
import logging
from collections.abc import Iterator

from classifier.datasets.dataset import BadDataset
from classifier.datasets.source import open_dataset
from classifier.storage import default_cache
from classifier.store.location import StoreUnavailable
from classifier.store.versions import UnknownModel, UnknownVersion
from compare.collect.client import (
    KeyRefused,
    Service,
    ServiceUnavailable,
    UnknownServed,
)
from compare.collect.images import (
    Images,
    is_unlabelled,
    labelled_images,
    unlabelled_images,
)
from compare.collect.local_service import OwnService, own_service
from compare.collect.schema import ServedVersion
from compare.config import DEFAULT_ADDRESS, CompareConfig

DEFAULT_URL = "http://{}:{}".format(*DEFAULT_ADDRESS)

PROBE = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAIAAACQd1PeAAAADElEQVR4nGNgYGAAAAAEAAH2FzhVAAAAAElFTkSuQmCC"
)
"""A black image of one pixel."""

logger = logging.getLogger(__name__)


@contextlib.contextmanager
def find_service(
    config: CompareConfig, early: OwnService | None = None
) -> Iterator[Service]:
    """The one at --url; else one at the default address that answers for both versions;
    else one of our own, stopped at the end; `early` is one that was started already."""
    running = None
    if config.url is not None:
        running = _checked(config.url, config)
    elif early is None:
        running = _look(config)
    if running is not None:
        with contextlib.closing(running):
            yield running
        return
    with _started(config) if early is None else contextlib.nullcontext(early) as own:
        try:
            url = own.wait_for_url()
        except ServiceUnavailable:
            _numbers(config)  # what is unknown is told better here
            raise
        logger.info("serving on %s", url)
        with contextlib.closing(own), contextlib.closing(_ask_at(url, config)) as ours:
            yield ours


def find_images(config: CompareConfig, a: ServedVersion) -> Images:
    """--data's, else those that the baseline was validated on as the registry has it.

    A folder of images without a layout is taken as it is, without labels. BadDataset
    where there are no images.
    """
    try:
        return own_images(config, model=a.model, version=a.number)
    except (StoreUnavailable, UnknownModel, UnknownVersion) as error:
        raise BadDataset(
            f"which images? The registry cannot tell ({error}); name them with --data"
        ) from error


def own_images(config: CompareConfig, *, model: str | None, version: str) -> Images:
    """Those for versions of our own store, which nobody else serves.

    As find_images(), and StoreUnavailable, UnknownModel or UnknownVersion.
    """
    source = config.data
    if source is None:
        from compare.collect.registered import recorded_source

        source = recorded_source(model, version)
        # Anybody can write there, and these images go to the service.
        logger.info("the images are those of %s, says the registry", source)
    if is_unlabelled(source):
        logger.info("%s has images and no labels", source)
        return unlabelled_images(source, config.limit)
    cache = config.cache or default_cache()
    dataset = open_dataset(source, cache=cache, want_train=False)
    return labelled_images(dataset, config.limit)


def _started(config: CompareConfig) -> contextlib.AbstractContextManager[OwnService]:
    model, versions = _numbers(config)
    return own_service(
        model=model, versions=versions, max_megapixels=config.max_megapixels
    )


def _numbers(config: CompareConfig) -> tuple[str, list[str]]:
    from compare.collect.registered import numbers_of

    return numbers_of(config.model, [config.a, config.b])


def _ask_at(url: str, config: CompareConfig) -> Service:
    return Service(url, patience_seconds=config.patience, key=config.key)


def _checked(url: str, config: CompareConfig) -> Service:
    service = _ask_at(url, config)
    served = service.list_versions()["model"]
    if config.model is not None and served != config.model:
        raise UnknownModel(f"{url} serves {served!r}, not {config.model!r}")
    return service


def _look(config: CompareConfig) -> Service | None:
    """The service at the default address; None without one for both versions."""
    service = Service(DEFAULT_URL, patience_seconds=0, key=config.key)
    try:
        with contextlib.closing(service):
            model = service.list_versions()["model"]
            if config.model not in (None, model):
                logger.info("%s serves %s, another model", DEFAULT_URL, model)
                return None
            versions = [service.version(asked) for asked in (config.a, config.b)]
    except ServiceUnavailable:
        return None
    except UnknownServed as error:
        logger.info("%s does not serve both: %s", DEFAULT_URL, error)
        return None
    except KeyRefused as error:
        if config.key is not None:
            raise
        logger.info("not asked: %s", error)
        return None
    found = _ask_at(DEFAULT_URL, config)
    try:
        # A service with a list shows the registry's other versions, but answers for
        # the list alone; one without loads what it is asked for.
        for version in versions:
            found.ask([("probe.png", PROBE)], [version])
    except (UnknownServed, ServiceUnavailable) as error:
        found.close()
        logger.info("%s does not answer for both: %s", DEFAULT_URL, error)
        return None
    logger.info("asking the service at %s", DEFAULT_URL)
    return found
