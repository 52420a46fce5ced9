"""Where the answers and the images come from, when the user does not say."""

import base64
import contextlib
import logging
from collections.abc import Iterator

from classifier.dataset import BadDataset, Dataset
from classifier.layouts import open_dataset
from classifier.registry import Registry, StoreUnavailable, UnknownModel
from classifier.staging import default_cache
from classifier.versions import UnknownVersion
from compare.client import Service, ServiceUnavailable, UnknownServed
from compare.config import CompareConfig
from compare.contract import ServedVersion
from compare.service_process import own_service

DEFAULT_URL = "http://127.0.0.1:8000"

PROBE = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAIAAACQd1PeAAAADElEQVR4nGNgYGAAAAAEAAH2FzhVAAAAAElFTkSuQmCC"
)
"""A black image of one pixel."""

logger = logging.getLogger(__name__)


@contextlib.contextmanager
def find_service(config: CompareConfig) -> Iterator[Service]:
    """The one at --url; else one at the default address that answers for both versions;
    else one of our own, stopped at the end."""
    running = _look(config) if config.url is None else _checked(config.url, config)
    if running is not None:
        with contextlib.closing(running):
            yield running
        return
    registry = Registry()
    model = registry.model_name(config.model)
    asked = dict.fromkeys((config.a, config.b))
    versions = list(dict.fromkeys(registry.resolve(model, v).number for v in asked))
    logger.info("starting a service for the time of this comparison")
    with own_service(model=model, versions=versions) as url:
        logger.info("serving v%s on %s", " and v".join(versions), url)
        with contextlib.closing(Service(url, patience_seconds=config.patience)) as own:
            yield own


def find_dataset(config: CompareConfig, a: ServedVersion) -> Dataset:
    """--data, else what the registry says that the baseline was validated on.

    BadDataset where neither is to be had.
    """
    source = config.data
    if source is None:
        try:
            version = Registry().resolve(a.model, a.number)
            source = version.tags.get("dataset_source")
        except (StoreUnavailable, UnknownModel, UnknownVersion) as error:
            raise BadDataset(
                f"which images? The registry cannot tell ({error}); name them with "
                f"--data"
            ) from error
    if source is None:
        raise BadDataset(
            f"which images? The registry does not say what v{a.number} was trained on; "
            "name them with --data"
        )
    cache = config.cache or default_cache()
    return open_dataset(source, cache=cache, want_train=False)


def _checked(url: str, config: CompareConfig) -> Service:
    service = Service(url, patience_seconds=config.patience)
    served = service.list_versions()["model"]
    if config.model is not None and served != config.model:
        raise UnknownModel(f"{url} serves {served!r}, not {config.model!r}")
    return service


def _look(config: CompareConfig) -> Service | None:
    """The service at the default address; None without one for both versions."""
    service = Service(DEFAULT_URL, patience_seconds=0)
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
    found = Service(DEFAULT_URL, patience_seconds=config.patience)
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
