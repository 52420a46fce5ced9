"""A whole run: what stands in MLflow afterwards."""

import csv
import json
import shutil
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image

from classifier.datasets.dataset import Dataset, part_digest
from classifier.networks.image_classifier import ImageClassifier
from classifier.store.registry import Registry
from classifier.store.versions import Version
from tests.conftest import Store, encoded, picture
from training.__main__ import main
from training.evaluation.epoch import Checkpoint
from training.evaluation.evaluate import evaluate
from training.publishing.publish import Publisher


def _run_id(store: Store) -> str:
    run_id = store.registry.resolve(store.model, "v1").run_id
    assert run_id is not None
    return run_id


def test_every_epoch_is_a_version_with_its_measures_as_tags(
    store: Store, digits: Dataset
) -> None:
    versions = store.registry.versions(store.model)

    assert [version.number for version in versions] == ["1", "2"]
    for epoch, version in enumerate(versions, start=1):
        assert version.epoch == epoch
        assert version.tags["run_id"] == version.run_id
        assert (
            version.tags["dataset_name"] == version.tags["dataset_source"] == "digits"
        )
        assert version.tags["dataset_digest"] == part_digest(digits.val)
        assert float(version.tags["onnx_max_abs_diff"]) < 1e-4
        assert 0 <= float(version.tags["expected_calibration_error"]) <= 1
        assert float(version.tags["temperature"]) > 0


def test_tags_say_what_the_published_weights_answer(
    store: Store, digits: Dataset
) -> None:
    for version in store.registry.versions(store.model):
        bundle = store.bundle(version.number)
        images = np.stack(
            [bundle.preprocessing.image(f.read_bytes()) for f in digits.val.files]
        )
        targets = np.array([bundle.labels.index_of[c] for c in digits.val.class_ids])

        metrics = evaluate(ImageClassifier.from_bundle(bundle), images, targets).metrics

        assert float(version.tags["val_top1_accuracy"]) == metrics.top1_accuracy
        assert float(version.tags["val_top5_accuracy"]) == metrics.top5_accuracy
        # other batches, other order of sums
        assert float(version.tags["val_loss"]) == pytest.approx(metrics.loss, rel=1e-5)


def test_a_run_keeps_a_stratified_sample_of_what_the_network_sees(
    store: Store, digits: Dataset, tmp_path: Path
) -> None:
    bundle = store.bundle("v1")
    folder = store.registry.download(f"runs:/{_run_id(store)}/proof", to=tmp_path)

    images = np.load(folder / "images.npy")
    names = (folder / "names.txt").read_text("utf-8").splitlines()

    # 896 validation images are fewer than 1,000.
    assert sorted(names) == sorted(digits.val.names)
    assert images.shape == (896, 16, 16, 3)
    file = dict(zip(digits.val.names, digits.val.files, strict=True))[names[300]]
    np.testing.assert_array_equal(
        images[300], bundle.preprocessing.image(file.read_bytes())
    )


def test_aliases_name_the_best_version(store: Store) -> None:
    versions = store.registry.versions(store.model)
    best = max(versions, key=lambda v: v.val_top1_accuracy or 0)
    best_loss = min(versions, key=lambda v: float(v.tags["val_loss"]))

    assert store.registry.resolve(store.model, "@best") == best
    assert store.registry.resolve(store.model, "best-loss") == best_loss


def test_each_metric_has_one_point_per_step(store: Store) -> None:
    client, run_id = store.registry.client, _run_id(store)

    for key in (
        *(f"{p}/{n}" for p in ("train", "train_sample", "val") for n in _NAMES),
        "val/expected_calibration_error",
        "val/macro_f1",
        "val/balanced_accuracy",
        "lr",
        "images_per_second",
    ):
        points = client.get_metric_history(run_id, key)
        assert [point.step for point in points] == [1, 2], key
    steps = [p.step for p in client.get_metric_history(run_id, "running/loss")]
    assert steps == [10, 15, 25, 30]  # 901 images in batches of 64: 15 steps


_NAMES = ("loss", "top1_accuracy", "top5_accuracy")


def test_the_metrics_of_an_epoch_belong_to_its_model(store: Store) -> None:
    client = store.registry.client
    for version in store.registry.versions(store.model):
        model = client.get_logged_model(version.model_id)
        values = {metric.key: metric.value for metric in model.metrics or []}
        assert values["val/top1_accuracy"] == version.val_top1_accuracy
        assert not any(key.startswith("running/") for key in values)


def test_the_run_tells_where_it_came_from_and_what_it_made(store: Store) -> None:
    client = store.registry.client
    run = client.get_run(_run_id(store))

    assert run.info.status == "FINISHED"
    assert run.data.tags["command"] == "python -m training --data digits --arch tiny"
    assert run.data.params["training_images"] == "901"
    assert run.data.params["recipe_schedule"] == "constant"
    assert {"version_torch", "dataset_digest", "seed"} <= set(run.data.params)
    models = {output.step: output.model_id for output in run.outputs.model_outputs}
    versions = store.registry.versions(store.model)
    assert models == {version.epoch: version.model_id for version in versions}
    assert [i.dataset.name for i in run.inputs.dataset_inputs] == ["digits"]


PICTURES = {"epochs", "running", "churn", "per_class", "hardest_images"} | {
    "confused_pairs",
    "confusion_matrix",
    "first_batch",
}


def test_pictures_layers_and_diagnosis_are_artifacts_of_the_run(store: Store) -> None:
    client, run_id = store.registry.client, _run_id(store)
    folder = Path(client.get_run(run_id).info.artifact_uri)

    assert folder.is_relative_to(store.folder / "mlruns" / "digits")
    assert {path.stem for path in (folder / "pictures").glob("*.png")} == PICTURES
    for name in PICTURES:
        with Image.open(folder / "pictures" / f"{name}.png") as drawn:
            assert min(drawn.size) > 300
    assert (folder / "diagnosis.md").read_text().startswith("# What this run learnt")
    layers = list(csv.DictReader((folder / "layers.csv").read_text().splitlines()))
    assert layers[-1]["name"] == "total"


def test_validation_predictions_are_those_of_the_version(
    store: Store, digits: Dataset
) -> None:
    bundle = store.bundle("v2")

    table = pq.read_table(bundle.validation_predictions).to_pandas()

    assert table.columns.tolist() == [
        "image",
        "target",
        *(f"index_{place}" for place in range(1, 6)),
        *(f"probability_{place}" for place in range(1, 6)),
    ]
    assert table["image"].tolist() == list(digits.val.names)
    version = store.registry.resolve(store.model, "v2")
    right = (table["target"] == table["index_1"]).mean()
    assert right == pytest.approx(version.val_top1_accuracy)
    assert (table["probability_1"] >= table["probability_2"]).all()


def test_a_run_that_fails_is_marked_and_its_versions_stay_whole(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The proof of the second version fails: version 1 is whole, and there is no 2."""
    uri = f"sqlite:///{tmp_path}/mlflow.db"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    publish = Publisher.publish

    def fail_second(
        self: Publisher, checkpoint: Checkpoint, *, again: bool = False
    ) -> Version:
        if checkpoint.record.epoch == 2:
            checkpoint.predictions.logits[:] += 1  # not what the weights answer
        return publish(self, checkpoint, again=again)

    monkeypatch.setattr(Publisher, "publish", fail_second)
    arguments = [
        "--data",
        "digits",
        "--arch",
        "tiny",
        "--image-size",
        "16",
        "--epochs",
        "3",
    ]

    assert main([*arguments, "--cache", str(cache)]) == 4

    registry = Registry(uri)
    (version,) = registry.versions("digits-tiny")
    assert version.number == "1"
    assert set(version.aliases) == {"best", "best-loss"}
    run = registry.client.get_run(version.run_id)
    assert run.info.status == "FAILED"
    assert len(run.outputs.model_outputs) == 1


def test_a_worse_second_run_takes_over_no_alias(
    store: Store, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    uri = f"sqlite:///{tmp_path}/mlflow.db"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    common = ["--data", "digits", "--arch", "tiny", "--image-size", "16"]
    common += ["--cache", str(cache), "--epochs", "1", "--batch-size", "64"]

    assert main(common) == 0
    assert main([*common, "--lr", "1e-6", "--recipe", "plain"]) == 0

    registry = Registry(uri)
    aliases = {v.number: v.aliases for v in registry.versions("digits-tiny")}
    assert aliases == {"1": ("best", "best-loss"), "2": ()}

    # what somebody wrote at the best one is no measure, and the next best one is best
    odd = {"val_top1_accuracy": "nan", "val_loss": "-inf"}
    registry.tag_version(registry.resolve("digits-tiny", "v1"), odd)
    assert main([*common, "--lr", "1e-6", "--recipe", "plain"]) == 0
    aliases = {v.number: v.aliases for v in registry.versions("digits-tiny")}
    assert aliases == {"1": (), "2": ("best", "best-loss"), "3": ()}


def test_a_folder_with_three_classes_trains_and_answers(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Fewer classes than five, other file types, `--skip-broken`, an http-like name."""
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/mlflow.db")
    root = tmp_path / "three kinds"
    for part in ("train", "val"):
        for seed, class_id in enumerate(("a", "b", "c")):
            folder = root / part / class_id
            folder.mkdir(parents=True)
            for number in range(4):
                image = picture(20, 20, seed=seed)
                kind = ("JPEG", "PNG", "WEBP", "BMP")[number]
                (folder / f"{number}.{kind.lower()}").write_bytes(encoded(image, kind))
    (root / "train" / "a" / "broken.png").write_bytes(b"x")
    (root / "train" / "b" / "gone.png").symlink_to("nowhere.png")
    (root / "val" / "c" / "notes.txt").write_text("no image")
    arguments = ["--data", str(root), "--arch", "tiny", "--epochs", "1"]
    arguments += ["--image-size", "16", "--cache", str(tmp_path / "cache")]

    assert main(arguments) == 2
    assert "a link to 'nowhere.png', which does not exist" in capsys.readouterr().err
    assert main([*arguments, "--skip-broken"]) == 0
    said = capsys.readouterr().out
    assert "data     three-kinds: 12 training and 12 validation images of 3" in said
    assert "note     left out of val/: 1 .txt\n" in said

    registry = Registry()
    assert registry.model_name(None) == "three-kinds-tiny"
    bundle = Store(tmp_path, "three-kinds-tiny").bundle("1")
    row = pq.read_table(bundle.validation_predictions).to_pylist()[0]
    assert row["image"] == "a/0.jpeg"
    assert row["index_3"] is not None
    assert row["index_4"] is row["probability_5"] is None
    assert json.loads((bundle.folder / "labels.json").read_text())[2]["id"] == "c"


def test_200_images_of_5_classes_are_learnt_with_the_default_flags(
    digits: Dataset,
    cache: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A batch of 256 made an epoch one step, and the accuracy chance.

    Smaller images and fewer epochs than by default, for time.
    """
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/mlflow.db")
    data = _small_data(digits, tmp_path / "five")
    given = ["--data", str(data), "--epochs", "3", "--image-size", "32"]

    code = main([*given, "--device", "cpu", "--cache", str(cache)])

    said = capsys.readouterr().out
    assert code == 0
    assert "200 training and 100 validation images of 5 classes" in said
    assert "batches of 10, recipe strong" in said
    best = Registry().resolve("five-resnet18", "best")
    assert best.val_top1_accuracy is not None
    assert best.val_top1_accuracy > 0.5  # chance is 0.2
    assert not any(
        words in said for words in ("not learning", "not settled", "diverged", "top-5")
    )


def _small_data(digits: Dataset, folder: Path) -> Path:
    """40 training and 20 validation images of each of the first five digits."""
    assert digits.train is not None
    for name, part, count in (("train", digits.train, 40), ("val", digits.val, 20)):
        for class_id in digits.labels.ids[:5]:
            files = [
                file
                for file, its_class in zip(part.files, part.class_ids, strict=True)
                if its_class == class_id
            ]
            at = folder / name / class_id
            at.mkdir(parents=True)
            for file in files[:count]:
                shutil.copy(file, at / file.name)
    return folder
