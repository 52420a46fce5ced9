"""What a run tells of its setting before the first step: to MLflow, and to people."""

from dataclasses import asdict

from training.device import explain_compute
from training.layer_table import layer_table
from training.provenance import library_versions
from training.run_report import print_start
from training.setting import Setting
from training.tracking import RunTracker


def log_setting(run: RunTracker, setting: Setting) -> None:
    asked = {k: v for k, v in asdict(setting.config).items() if k != "cache"}
    recipe = {f"recipe_{k}": v for k, v in asdict(setting.recipe).items()}
    versions = {f"version_{k}": v for k, v in library_versions().items()}
    run.log_params(
        {
            **asked,
            **recipe,
            **versions,
            **setting.dataset_tags,
            "lr": setting.recipe.lr,
            "batch_size": setting.batch_size,
            "model": setting.model,
            "experiment": setting.experiment,
            "device": setting.compute.device,
            "precision": setting.compute.precision,
            "compile": setting.compiled,
            "classes": len(setting.dataset.labels),
            "training_images": len(setting.train),
            "validation_images": len(setting.val),
        }
    )
    run.log_dataset(
        name=setting.dataset.name,
        digest=setting.val.digest,
        source=setting.dataset.source,
        size=setting.sizes,
    )
    run.log_text(layer_table(setting.classifier, setting.preprocessing), "layers.csv")


def print_setting(
    run: RunTracker, setting: Setting, *, store: str, epochs_done: int | None
) -> None:
    """`epochs_done` of a run that is gone on with."""
    spec, compute, config = setting.network, setting.compute, setting.config
    parameters = sum(p.numel() for p in setting.classifier.parameters())
    print_start(
        model=setting.model,
        network=f"{spec.architecture}, {spec.stem} stem, {parameters:,} parameters",
        run=f"{run.run_name} ({run.run_id})",
        store=store,
        images=f"{setting.dataset.name}: {setting.sizes}",
        compute=f"{explain_compute(compute)}, batches of {setting.batch_size}, recipe "
        f"{config.recipe}",
        notes=setting.dataset.notes,
        has_top5=setting.has_top5,
        resumed=None if epochs_done is None else f"after epoch {epochs_done}",
    )
