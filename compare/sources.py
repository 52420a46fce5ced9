"""Where the answers and the images come from, when the user does not say."""

import base64
import contextlib
import logging
from collections.abc import Iterator

from classifier.dataset import BadDataset
from classifier.layouts import open_dataset
from classifier.registry import Registry, StoreUnavailable, UnknownModel
from classifier.staging import default_cache
from classifier.versions import UnknownVersion
from compare.client import Service
from compare.config import DEFAULT_ADDRESS, CompareConfig
from compare.contract import ServedVersion
from compare.images import (
    Images,
    is_unlabelled,
    labelled_images,
    unlabelled_images,
)
from compare.responses import KeyRefused, ServiceUnavailable, UnknownServed
from compare.service_process import OwnService, own_service

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
    registry = Registry()
    model = registry.model_name(config.model)
    asked = dict.fromkeys((config.a, config.b))
    # Also of `early`: what is unknown is told better here.
    versions = list(dict.fromkeys(registry.resolve(model, v).number for v in asked))
    logger.info("starting a service for the time of this comparison")
    with (
        own_service(model=model, versions=versions)
        if early is None
        else contextlib.nullcontext(early)
    ) as own:
        url = own.wait_for_url()
        logger.info("serving v%s on %s", " and v".join(versions), url)
        with contextlib.closing(_ask_at(url, config)) as service:
            yield service


def find_images(config: CompareConfig, a: ServedVersion) -> Images:
    """--data's, else those that the baseline was validated on as the registry has it.

    A folder of images without a layout is taken as it is, without labels. BadDataset
    where there are no images.
    """
    source = config.data or _recorded_source(a)
    if is_unlabelled(source):
        logger.info("%s has images and no labels", source)
        return unlabelled_images(source, config.limit)
    cache = config.cache or default_cache()
    dataset = open_dataset(source, cache=cache, want_train=False)
    return labelled_images(dataset, config.limit)


def _recorded_source(a: ServedVersion) -> str:
    try:
        version = Registry().resolve(a.model, a.number)
    except (StoreUnavailable, UnknownModel, UnknownVersion) as error:
        raise BadDataset(
            f"which images? The registry cannot tell ({error}); name them with --data"
        ) from error
    source = version.tags.get("dataset_source")
    if source is None:
        raise BadDataset(
            f"which images? The registry does not say what v{a.number} was trained on; "
            "name them with --data"
        )
    return source


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
