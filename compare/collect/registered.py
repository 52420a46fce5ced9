"""What only the registry can tell; imported when it is asked, as MLflow takes 1.3 s."""

from classifier.datasets.dataset import BadDataset
from classifier.store.registry import Registry
from classifier.store.versions import UnknownVersion, Version
from compare.collect.schema import ServedVersion


def numbers_of(model: str | None, asked: list[str]) -> tuple[str, list[str]]:
    """The model's name, and the numbers of these versions, each once.

    StoreUnavailable, UnknownModel or UnknownVersion where there are none such.
    """
    registry = Registry()
    name = registry.model_name(model)
    numbers = [registry.resolve(name, version).number for version in asked]
    return name, list(dict.fromkeys(numbers))


def recorded_source(model: str | None, asked: str) -> str:
    """What names the images that a version was validated on; BadDataset if nothing.

    StoreUnavailable, UnknownModel or UnknownVersion where there is none such.
    """
    registry = Registry()
    version = registry.resolve(registry.model_name(model), asked)
    source = version.dataset_source
    if source is None:
        raise BadDataset(
            f"which images? The registry does not say what v{version.number} was "
            "trained on; name them with --data"
        )
    return source


def registered(registry: Registry, served: ServedVersion) -> Version:
    """The registry's entry of a version that answered.

    UnknownModel or UnknownVersion where the service has its versions elsewhere.
    """
    version = registry.resolve(registry.model_name(served.model), served.number)
    if served.run_id is not None and version.run_id != served.run_id:
        raise UnknownVersion(
            f"v{served.number} of {served.model!r} in {registry.uri} is of run "
            f"{version.run_id}, and the service's is of run {served.run_id}; set "
            "MLFLOW_TRACKING_URI to the service's store"
        )
    return version
