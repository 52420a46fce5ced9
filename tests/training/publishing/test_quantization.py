"""`--quantize`: an int8 form beside a version, measured, linked, and found again."""

import json
import shutil
from pathlib import Path

import numpy as np
import onnx
import pyarrow.parquet as pq
import pytest
import torch

from classifier.bundle.files import write_bundle
from classifier.bundle.labels import Labels
from classifier.bundle.network import NetworkSpec
from classifier.bundle.preprocessing import Preprocessing
from classifier.datasets.dataset import Dataset, Part
from classifier.inference.backends.onnx_runtime import OnnxBackend
from classifier.networks.build import build_network
from classifier.networks.image_classifier import ImageClassifier
from classifier.store.versions import UnknownVersion
from tests.conftest import Store
from training.__main__ import main
from training.publishing.export import export_parts, state_of
from training.publishing.quantization import calibration_part, quantise


@pytest.fixture
def use(quantised_store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", quantised_store.uri)


def _kept_answers(store: Store, version: str) -> list[int]:
    table = pq.read_table(store.bundle(version).validation_predictions)
    return [int(index) for index in table["index_1"].to_numpy()]


def test_the_tags_say_what_the_int8_form_answers(
    quantised_store: Store, digits: Dataset
) -> None:
    form = quantised_store.registry.resolve(quantised_store.model, "v2.int8")
    bundle = quantised_store.bundle("v2.int8")
    images = np.stack(
        [bundle.preprocessing.image(file.read_bytes()) for file in digits.val.files]
    )
    targets = [bundle.labels.index_of[class_id] for class_id in digits.val.class_ids]

    answers = OnnxBackend.for_one_batch_at_a_time(bundle).logits(images).argmax(axis=1)

    assert form.val_top1_accuracy == np.mean(answers == targets)
    assert list(answers) == _kept_answers(quantised_store, "v2.int8")
    agreement = np.mean(answers == _kept_answers(quantised_store, "v2"))
    assert float(form.tags["agreement"]) == agreement
    assert agreement > 0.9  # of 20,000 parameters, none of them is lost


def test_the_int8_form_is_smaller_and_has_no_weights_beside_its_graph(
    quantised_store: Store,
) -> None:
    version, form = (quantised_store.bundle(name) for name in ("v2", "v2.int8"))

    assert not (form.folder / "weights.safetensors").exists()
    # MLflow's own loader leaves a note where it read a version.
    left = {path.name for path in version.folder.iterdir()} - {"registered_model_meta"}
    assert left - {path.name for path in form.folder.iterdir()} == {
        "weights.safetensors"
    }
    assert (form.labels, form.preprocessing) == (version.labels, version.preprocessing)
    network = json.loads((form.folder / "network.json").read_text())
    assert network["precision"] == "int8"


def test_the_logged_model_leads_to_the_version_and_tells_its_measures(
    quantised_store: Store,
) -> None:
    registry = quantised_store.registry
    version = registry.resolve(quantised_store.model, "v2")
    form = registry.resolve(quantised_store.model, "v2.int8")
    assert form.run_id is not None

    model = registry.client.get_logged_model(form.model_id)
    run = registry.client.get_run(form.run_id)

    assert model.name == "epoch-02-int8"
    assert model.tags["quantised_version"] == "2"
    assert model.tags["quantised_model_id"] == version.model_id
    values = {metric.key: metric.value for metric in model.metrics}
    assert values["val/top1_accuracy"] == form.val_top1_accuracy
    assert values["calibration_images"] == 520  # 52 of each of 10 classes: 512 or more
    assert run.info.status == "FINISHED"
    assert run.data.tags["command"].endswith("--quantize v2 --data digits")
    assert [m.model_id for m in run.outputs.model_outputs] == [form.model_id]


def test_versions_and_aliases_of_the_registry_stay_as_they_were(
    store: Store, quantised_store: Store
) -> None:
    before = store.registry.versions(store.model)
    after = quantised_store.registry.versions(store.model)

    assert [v.number for v in after] == [v.number for v in before]
    assert [v.aliases for v in after] == [v.aliases for v in before]
    with pytest.raises(UnknownVersion, match="move it to v2"):
        quantised_store.registry.set_alias(store.model, "best", "2.int8")


def test_quantising_again_takes_the_place_of_the_first_and_leaves_its_files(
    quantised_store: Store, cache: Path, capsys: pytest.CaptureFixture[str], use: None
) -> None:
    registry, name = quantised_store.registry, (quantised_store.model, "latest.int8")
    first = registry.resolve(*name)

    code = main(["--quantize", "latest", "--data", "digits", "--cache", str(cache)])

    assert code == 0
    second = registry.resolve(*name)
    assert second.model_id != first.model_id
    assert second.val_top1_accuracy == first.val_top1_accuracy
    files = [registry.fetch(form) / "model.onnx" for form in (first, second)]
    assert files[0].read_bytes() == files[1].read_bytes()
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("digits-tiny: v2 in int8, calibrated on 520 training")
    assert lines[3].split()[0] == "top-1"
    assert f"{100 * (second.val_top1_accuracy or 0):.2f} %" in lines[3]
    assert lines[-1].endswith(
        "python -m compare --model digits-tiny --a v2 --b v2.int8"
    )


def test_a_measure_that_the_registry_lacks_is_a_dash(
    quantised_store: Store,
    cache: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    store = quantised_store.copy(tmp_path / "store")
    version = store.registry.resolve(store.model, "v2")
    store.registry.tag_version(version, {"val_loss": "n/a"})
    monkeypatch.setenv("MLFLOW_TRACKING_URI", store.uri)

    assert main(["--quantize", "v2", "--data", "digits", "--cache", str(cache)]) == 0

    lines = capsys.readouterr().out.splitlines()
    assert lines[3].split()[:2] == ["top-1", "\N{EN DASH}"]


def test_evaluate_measures_an_int8_form_as_its_tags_tell(
    quantised_store: Store, cache: Path, capsys: pytest.CaptureFixture[str], use: None
) -> None:
    common = ["--evaluate", "v2.int8", "--data", "digits", "--cache", str(cache)]
    form = quantised_store.registry.resolve(quantised_store.model, "v2.int8")

    assert main(common) == 0
    last = capsys.readouterr().out.splitlines()[-1]
    assert f"Acc@1 {100 * (form.val_top1_accuracy or 0):.3f}" in last
    assert main([*common, "--device", "cuda"]) == 3
    assert "on the CPU" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("version", "message"),
    [
        ("v9", "no version 'v9'"),
        ("v2.int8", "quantised already; name the version it was made of"),
        ("v1.int8", "has no int8 form"),
    ],
)
def test_a_version_that_cannot_be_quantised_is_told(
    use: None,
    cache: Path,
    capsys: pytest.CaptureFixture[str],
    version: str,
    message: str,
) -> None:
    code = main(["--quantize", version, "--data", "digits", "--cache", str(cache)])

    assert code == 2
    assert message in capsys.readouterr().err


def test_data_that_the_version_was_not_validated_on_are_refused(
    use: None,
    digits: Dataset,
    cache: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    for part, images in (("train", digits.train), ("val", digits.val)):
        assert images is not None
        few = images.first_per_class(2)
        _copy(few, tmp_path / "few" / part)
    arguments = ["--quantize", "v1", "--cache", str(cache), "--data"]

    assert main([*arguments, str(tmp_path / "few")]) == 2
    assert "are not those that v1 was validated on" in capsys.readouterr().err
    shutil.rmtree(tmp_path / "few" / "train")
    assert main([*arguments, str(tmp_path / "few")]) == 2


def _copy(part: Part, folder: Path) -> None:
    for class_id, file in zip(part.class_ids, part.files, strict=True):
        (folder / class_id).mkdir(parents=True, exist_ok=True)
        shutil.copy(file, folder / class_id)


def test_a_calibration_part_has_as_many_of_each_class(digits: Dataset) -> None:
    assert digits.train is not None

    part = calibration_part(digits.train, classes=10)

    counts = [part.class_ids.count(class_id) for class_id in digits.labels]
    assert counts == [52] * 10


def test_a_resnet_is_int8_but_for_its_last_layer(tmp_path: Path, cache: Path) -> None:
    torch.manual_seed(0)
    spec, preprocessing = NetworkSpec("resnet18", "imagenet", 3), Preprocessing(32, 32)
    network = build_network(spec, size=64)
    classifier = ImageClassifier(network, preprocessing).eval()
    parts = export_parts(
        classifier,
        labels=Labels.from_ids(["a", "b", "c"]),
        preprocessing=preprocessing,
        network=spec,
        cache=cache,
    )
    bundle = write_bundle(
        tmp_path,
        weights=state_of(classifier),
        graph=parts.graph,
        labels=parts.labels,
        preprocessing=preprocessing,
        network=spec,
    )
    images = np.random.default_rng(0).integers(0, 256, (40, 32, 32, 3), np.uint8)

    graph = quantise(bundle, images)

    nodes = onnx.load_from_string(graph).graph.node
    shapes = {
        tensor.name: tuple(tensor.dims)
        for tensor in onnx.load_from_string(graph).graph.initializer
    }
    made_by = {name: node for node in nodes for name in node.output}
    convolutions = [node for node in nodes if node.op_type == "Conv"]
    assert len(convolutions) == 20
    for node in convolutions:
        weights = made_by[node.input[1]]
        assert weights.op_type == "DequantizeLinear"
        values, scales = (shapes[name] for name in weights.input[:2])
        assert scales == values[:1]  # one for each output channel
    (last,) = (node for node in nodes if node.op_type == "Gemm")
    assert last.input[1] not in made_by
    # folded: ONNX Runtime would leave it in fp32 between two int8 convolutions
    assert "BatchNormalization" not in {node.op_type for node in nodes}
