"""Where a program's runs are listed: an MLflow experiment, made if it is new."""

from classifier.registry import Registry, store_call
from classifier.store import StoreUnavailable, is_remote, store_folder


def open_experiment(registry: Registry, name: str, *, advice: str) -> str:
    """Its id; made where it is new, with artifacts where plain `mlflow ui` finds them.

    MLflow's default would depend on who comes first: an experiment made in its UI gets
    `mlflow-artifacts:`, which only a client of the server can write to.
    StoreUnavailable ends in `advice`, what else the program's user can do.
    """
    with store_call(f"open experiment {name!r}"):
        found = registry.client.get_experiment_by_name(name)
        if found is None:
            folder = store_folder(registry.uri) / "mlruns" / name
            location = None if is_remote(registry.uri) else str(folder)
            return str(registry.client.create_experiment(name, location))
    if found.lifecycle_stage != "active":
        raise StoreUnavailable(
            f"experiment {name!r} was deleted in MLflow; restore it with `mlflow "
            f"experiments restore --experiment-id {found.experiment_id}`, or {advice}"
        )
    at_server = str(found.artifact_location).startswith("mlflow-artifacts:")
    if at_server and not is_remote(registry.uri):
        raise StoreUnavailable(
            f"experiment {name!r} keeps its artifacts on a server "
            f"({found.artifact_location}), and {registry.uri} is not one; set "
            f"MLFLOW_TRACKING_URI to the server's address, or {advice}"
        )
    return str(found.experiment_id)
