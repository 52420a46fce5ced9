"""The sources of answers: files, and a service named, running already, or our own."""

import base64
import contextlib
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial

from classifier.store.versions import UnknownModel, split_name
from compare.collect.client import (
    KeyRefused,
    ServedOtherwise,
    Service,
    ServiceUnavailable,
    UnknownServed,
)
from compare.collect.collector import Side
from compare.collect.local_service import DEFAULT_ADDRESS, OwnService, own_service
from compare.collect.offline.files import File
from compare.collect.schema import ServedVersion, served_models

DEFAULT_URL = "http://{}:{}".format(*DEFAULT_ADDRESS)

PROBE = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAIAAACQd1PeAAAADElEQVR4nGNgYGAAAAAEAAH2FzhVAAAAAElFTkSuQmCC"
)
"""A black image of one pixel."""

logger = logging.getLogger(__name__)


ServiceFound = contextlib.AbstractContextManager[Service]

FindService = Callable[[str | None, Sequence[str]], ServiceFound]
"""A client of a service that answers for these versions of a model.

None is the model of --model, or the only one.
"""


@contextlib.contextmanager
def open_sides(
    files: Mapping[str, File], a: str, b: str, *, find: FindService
) -> Iterator[tuple[Side, Side]]:
    """Yield both sides. For names that are not among `files` a service is found.

    A service of our own answers for one model, so versions of two models need two.
    """
    sides = {name: Side(file.version, file) for name, file in files.items()}
    served: dict[str | None, dict[str, str]] = {}
    for typed in (a, b):
        if typed not in files:
            model, name = split_name(typed)
            served.setdefault(model, {})[typed] = name
    services: dict[str, Service] = {}  # by URL: one request asks for both versions
    with contextlib.ExitStack() as stack:
        for model, names in served.items():
            found = stack.enter_context(find(model, list(names.values())))
            service = services.setdefault(found.url, found)
            for typed, name in names.items():
                sides[typed] = Side(found.version(name), service)
        yield sides[a], sides[b]


@contextlib.contextmanager
def find_service(
    early: OwnService | None,
    model: str | None,
    versions: Sequence[str],
    *,
    url: str | None,
    key: str | None,
    patience_seconds: float,
    max_megapixels: float,
) -> Iterator[Service]:
    """Yield a client of a service that answers for `versions`.

    The service is, in this order: the one at `url`; `early`, which is being started
    already; one at the default address that answers for all versions; one that is
    started here. A service of our own is stopped at the end.
    """
    connect = partial(Service, patience_seconds=patience_seconds, key=key, model=model)
    with contextlib.ExitStack() as stack:
        service = None
        if url is not None:
            service = connect(url)
        elif early is None and (there := _versions_at_default(model, versions, key)):
            service = _if_it_answers(connect(DEFAULT_URL), there)
        if service is None:
            own = early or stack.enter_context(
                _start(model, versions, max_megapixels=max_megapixels)
            )
            service = connect(_wait_for_url(own, model, versions))
            stack.callback(own.close)
        stack.enter_context(contextlib.closing(service))
        if url is not None:
            _check_model(service, model)
        yield service


def _check_model(service: Service, model: str | None) -> None:
    served = served_models(service.list_versions())
    if model is not None and model not in served:
        there = ", ".join(map(repr, served))
        raise UnknownModel(f"{service.url} serves {there}, not {model!r}")


def _versions_at_default(
    model: str | None, names: Sequence[str], key: str | None
) -> list[ServedVersion]:
    """The versions as the service at the default address lists them.

    Empty if there is no service, or if it lacks one of them.
    """
    service = Service(DEFAULT_URL, patience_seconds=0, key=key, model=model)
    try:
        with contextlib.closing(service):
            served = served_models(service.list_versions())
            if model is not None and model not in served:
                there = ", ".join(served)
                logger.info("%s serves %s, another model", DEFAULT_URL, there)
                return []
            return [service.version(name) for name in names]
    except ServiceUnavailable:
        return []
    except UnknownServed as error:
        logger.info("%s does not serve both: %s", DEFAULT_URL, error)
        return []
    except KeyRefused as error:
        if key is not None:
            raise
        logger.info("%s is not used: %s", DEFAULT_URL, error)
        return []


def _if_it_answers(
    service: Service, versions: Sequence[ServedVersion]
) -> Service | None:
    """`service` if it predicts with all versions, else None.

    A service with a list shows the registry's other versions too, but predicts with the
    listed ones alone. A service without a list loads what it is asked for.
    """
    try:
        for version in versions:
            service.predict([("probe.png", PROBE)], [version])
    except (UnknownServed, ServedOtherwise, ServiceUnavailable) as error:
        service.close()
        logger.info("%s does not answer for both: %s", DEFAULT_URL, error)
        return None
    logger.info("using the service at %s", DEFAULT_URL)
    return service


def _start(
    model: str | None, versions: Sequence[str], *, max_megapixels: float
) -> contextlib.AbstractContextManager[OwnService]:
    name, numbers = _resolve(model, versions)
    return own_service(model=name, versions=numbers, max_megapixels=max_megapixels)


def _wait_for_url(own: OwnService, model: str | None, versions: Sequence[str]) -> str:
    try:
        url = own.wait_for_url()
    except ServiceUnavailable:
        _resolve(model, versions)  # says which name is unknown, if that is the reason
        raise
    logger.info("serving on %s", url)
    return url


def _resolve(model: str | None, versions: Sequence[str]) -> tuple[str, list[str]]:
    """The model's name and the versions' numbers, each once, from the registry.

    Raises StoreUnavailable, UnknownModel or UnknownVersion.
    """
    from classifier.store.registry import Registry  # MLflow takes 1.3 s

    registry = Registry()
    name = registry.model_name(model)
    numbers = [registry.resolve(name, version).number for version in versions]
    return name, list(dict.fromkeys(numbers))
