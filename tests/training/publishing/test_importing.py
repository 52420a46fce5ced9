"""`--import`: graphs, weights and MLflow's models become versions that answer alike."""

import json
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import mlflow.onnx
import mlflow.pytorch
import numpy as np
import onnx
import pyarrow.parquet as pq
import pytest
import torch
from onnx import TensorProto, helper
from safetensors import safe_open
from safetensors.torch import load_file

from classifier.bundle.files import Bundle, read_bundle
from classifier.bundle.network import UnknownNetwork
from classifier.hardware import DeviceKind
from classifier.inference.backends.onnx_runtime import OnnxBackend
from classifier.inference.backends.open import open_backend
from classifier.metrics import softmax
from classifier.networks.build import build_network
from classifier.store.registry import Registry
from tests.conftest import Store
from tests.training.publishing.foreign import write_graph
from training.__main__ import main

Import = Callable[..., Bundle]

IMAGES = np.random.default_rng(0).integers(0, 256, (7, 16, 16, 3), np.uint8)


@pytest.fixture(scope="module")
def uri(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A store for all tests here; each uses a model of its own."""
    uri = f"sqlite:///{tmp_path_factory.mktemp('imported')}/mlflow.db"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MLFLOW_TRACKING_URI", uri)
        yield uri


@pytest.fixture
def model(tmp_path: Path) -> str:
    return f"of-{tmp_path.name}"


@pytest.fixture
def import_(uri: str, model: str, cache: Path) -> Import:
    """Imports into `model`, and returns the bundle."""

    def import_it(source: object, *flags: str) -> Bundle:
        given = ["--import", str(source), "--model", model, "--cache", str(cache)]
        assert main([*given, *flags]) == 0
        registry = Registry(uri)
        return read_bundle(registry.fetch(registry.resolve(model, "latest")))

    return import_it


def _logits(bundle: Bundle) -> Any:
    return OnnxBackend.for_one_batch_at_a_time(bundle).logits(IMAGES)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"layout": "nhwc"},
        {"batch": 1, "flat": [1, 48]},
        {"batch": 1, "flat": [1, -1]},
        {"batch": 2, "flat": [2, 48]},
        {"takes_name": "logits", "gives_name": "images"},
        {"opset": 11},
        {"sides": ("H", "W")},
        {"save_as_external_data": True, "location": "w.bin", "size_threshold": 0},
    ],
)
def test_a_graph_made_elsewhere_answers_as_the_network_it_was_made_of(
    store: Store, tmp_path: Path, import_: Import, options: dict[str, Any]
) -> None:
    own = store.bundle("2")

    made = import_(write_graph(tmp_path / "x.onnx", own, **options), "--size", "16")

    np.testing.assert_allclose(_logits(made), _logits(own), rtol=1e-4, atol=1e-5)
    assert made.preprocessing == own.preprocessing
    assert made.labels.ids == tuple(f"class_{n}" for n in range(10))


def test_probabilities_become_logits_of_the_same_probabilities(
    store: Store, tmp_path: Path, import_: Import
) -> None:
    own = store.bundle("2")

    made = import_(write_graph(tmp_path / "x.onnx", own, probabilities=True))

    np.testing.assert_allclose(
        softmax(_logits(made)), softmax(_logits(own)), rtol=1e-4, atol=1e-6
    )


def test_a_graph_of_pixels_normalises_them_itself(
    store: Store, tmp_path: Path, import_: Import
) -> None:
    file = write_graph(tmp_path / "x.onnx", store.bundle("2"), takes=TensorProto.UINT8)

    made = import_(file)

    assert made.preprocessing.std == (1.0, 1.0, 1.0)
    session = OnnxBackend.for_one_batch_at_a_time(made)
    assert session.logits(IMAGES).shape == (7, 10)
    assert main(["--import", str(file), "--mean", "0,0,0"]) == 2


def test_the_weights_are_external_data_of_the_graph_under_their_own_names(
    store: Store, tmp_path: Path, import_: Import
) -> None:
    made = import_(write_graph(tmp_path / "x.onnx", store.bundle("2")))

    with safe_open(made.weights, "numpy") as weights:
        # Tensors of up to 16 numbers stay in the graph.
        expected = {f"{n}.{kind}" for n in "0248" for kind in ("weight", "bias")}
        assert set(weights.keys()) == expected - {"0.bias", "8.bias"}
    assert made.graph.stat().st_size < 5_000
    assert json.loads((made.folder / "network.json").read_text()) == {
        "architecture": "x",
        "stem": "imagenet",
        "classes": 10,
        "precision": "fp32",
        "source": "onnx",
    }


def test_a_version_may_be_imported_again_with_its_labels(
    store: Store, tmp_path: Path, import_: Import, model: str
) -> None:
    """Its file brings labels and preprocessing along."""
    labels = tmp_path / "labels.txt"
    labels.write_text("\n".join(store.bundle("2").labels.names))
    file = write_graph(tmp_path / "x.onnx", store.bundle("2"), probabilities=True)
    first = import_(file, "--labels", str(labels))

    again = import_(f"models:/{model}/v1")

    assert again.labels == first.labels
    np.testing.assert_allclose(_logits(again), _logits(first), rtol=1e-5, atol=1e-6)


def test_without_data_a_version_has_no_measures_and_no_alias(
    store: Store, tmp_path: Path, import_: Import, uri: str, model: str
) -> None:
    import_(write_graph(tmp_path / "x.onnx", store.bundle("2")))

    (version,) = Registry(uri).versions(model)

    assert version.val_loss is None
    assert version.val_top1_accuracy is None
    assert version.epoch is None
    assert version.dataset_digest is None
    assert version.aliases == ()
    assert float(version.tags["onnx_max_abs_diff"]) < 1e-4


def test_with_data_it_has_the_measures_of_the_version_it_was_made_of(
    store: Store, tmp_path: Path, import_: Import, uri: str, model: str
) -> None:
    """Also if its classes have the names of the data's, and no ids."""
    own = store.bundle("2")
    labels = tmp_path / "labels.txt"
    labels.write_text("\n".join(own.labels.names))
    file = write_graph(tmp_path / "x.onnx", own)

    made = import_(file, "--labels", str(labels), "--data", "digits")

    registry = store.registry
    measured = registry.resolve(store.model, "2")
    version = Registry(uri).resolve(model, "best")
    assert made.labels == own.labels
    for tag in ("val_top1_accuracy", "val_top5_accuracy", "dataset_digest"):
        assert version.tags[tag] == measured.tags[tag]
    assert version.val_loss == pytest.approx(measured.val_loss)
    assert set(version.aliases) == {"best", "best-loss"}
    tables = [pq.read_table(b.validation_predictions) for b in (made, own)]
    assert tables[0]["index_1"] == tables[1]["index_1"]
    client = Registry(uri).client
    run = client.get_run(version.run_id)
    assert run.info.status == "FINISHED"
    assert run.data.metrics["val/top1_accuracy"] == version.val_top1_accuracy
    assert client.get_experiment(run.info.experiment_id).name == "digits"


def test_an_import_is_quantised_measured_and_served_as_others_are(
    store: Store,
    tmp_path: Path,
    import_: Import,
    uri: str,
    model: str,
    cache: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    own = store.bundle("2")
    labels = tmp_path / "labels.json"
    shutil.copy(own.folder / "labels.json", labels)
    file = write_graph(tmp_path / "x.onnx", own, opset=11)
    import_(file, "--labels", str(labels), "--data", "digits")
    data = ["--data", "digits", "--cache", str(cache), "--model", model]
    capsys.readouterr()

    assert main(["--evaluate", "v1", *data]) == 0
    printed = capsys.readouterr().out
    assert main(["--quantize", "v1", *data]) == 0

    version = Registry(uri).resolve(model, "1")
    assert version.val_top1_accuracy is not None
    assert f"Acc@1 {100 * version.val_top1_accuracy:.3f}" in printed
    int8 = Registry(uri).resolve(model, "1.int8")
    assert float(int8.tags["agreement"]) > 0.9


def test_the_torch_backend_says_that_it_has_no_network(
    store: Store, tmp_path: Path, import_: Import
) -> None:
    made = import_(write_graph(tmp_path / "x.onnx", store.bundle("2")))
    cpu: DeviceKind = "cpu"

    with pytest.raises(UnknownNetwork, match="use the onnx backend"):
        open_backend("torch", made, device=cpu, threads=1)


@pytest.mark.parametrize("told", ["sidecar", "labels.json", "metadata"])
def test_what_a_file_brings_along_needs_no_flags(
    store: Store, tmp_path: Path, import_: Import, told: str
) -> None:
    own = store.bundle("2")
    names = dict(enumerate(own.labels.names))
    file = write_graph(
        tmp_path / "x.onnx",
        own,
        sides=("H", "W"),
        metadata={"names": str(names)} if told == "metadata" else {},
    )
    preprocessing = {**own.preprocessing.to_json(), "mean": [0.5] * 3}
    if told == "sidecar":
        content = {"labels": own.labels.to_json(), "preprocessing": preprocessing}
        file.with_suffix(".json").write_text(json.dumps({**content, "layout": "nchw"}))
    elif told == "labels.json":
        (tmp_path / "labels.json").write_text(json.dumps(own.labels.to_json()))
        (tmp_path / "preprocessing.json").write_text(json.dumps(preprocessing))

    made = import_(file, *(["--size", "16"] if told == "metadata" else []))

    assert made.labels.names == own.labels.names
    assert made.preprocessing.mean[0] == (0.485 if told == "metadata" else 0.5)


@pytest.mark.parametrize("suffix", [".safetensors", ".pth"])
def test_weights_of_a_known_network_become_a_version_for_torch_too(
    store: Store, tmp_path: Path, import_: Import, suffix: str
) -> None:
    own = store.bundle("2")
    file = tmp_path / f"x{suffix}"
    if suffix == ".pth":
        tensors = load_file(own.weights)
        torch.save({"state_dict": {f"module.{k}": v for k, v in tensors.items()}}, file)
    else:
        shutil.copy(own.weights, file)

    made = import_(file, "--arch", "tiny", "--size", "16")

    assert made.network == own.network
    assert made.graph.read_bytes() == own.graph.read_bytes()
    torch_logits = open_backend("torch", made, device="cpu", threads=1).logits(IMAGES)
    np.testing.assert_allclose(torch_logits, _logits(own), rtol=1e-4, atol=1e-5)


def test_weights_that_do_not_fit_to_the_last_tensor_are_refused(
    store: Store, tmp_path: Path, uri: str, capsys: pytest.CaptureFixture[str]
) -> None:
    tensors = load_file(store.bundle("2").weights)
    torch.save({**tensors, "more": torch.zeros(2)}, tmp_path / "more.pth")
    tensors.pop("8.bias")
    torch.save(tensors, tmp_path / "less.pth")

    for name, tensor in (("more", "more"), ("less", "8.bias")):
        file = str(tmp_path / f"{name}.pth")
        assert main(["--import", file, "--arch", "tiny", "--size", "16"]) == 2
        assert tensor in capsys.readouterr().err
    assert not Registry(uri, create=True).has_model("tiny")


class Pickled(torch.nn.Module):
    """A network that only this file has."""

    def __init__(self, network: torch.nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = self.network(inputs)
        return logits


@pytest.fixture
def network(store: Store) -> torch.nn.Module:
    own = store.bundle("2")
    network = build_network(own.network, size=16)
    network.load_state_dict(load_file(own.weights))
    return network.eval()


def test_a_pickle_is_read_only_if_it_is_trusted(
    store: Store,
    network: torch.nn.Module,
    tmp_path: Path,
    import_: Import,
    capsys: pytest.CaptureFixture[str],
) -> None:
    file = tmp_path / "x.pth"
    torch.save(torch.nn.Sequential(network), file)

    assert main(["--import", str(file), "--size", "16"]) == 2
    assert "may do anything this user may" in capsys.readouterr().err
    made = import_(file, "--size", "16", "--trust-pickle")

    np.testing.assert_allclose(
        _logits(made), _logits(store.bundle("2")), rtol=1e-4, atol=1e-5
    )


def test_models_of_mlflow_become_versions(
    store: Store,
    network: torch.nn.Module,
    tmp_path: Path,
    import_: Import,
    uri: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Of flavour onnx, and of flavour pytorch where its pickle is trusted."""
    own = _logits(store.bundle("2"))
    graph = onnx.load(write_graph(tmp_path / "x.onnx", store.bundle("2")))
    mlflow.onnx.save_model(graph, tmp_path / "onnx", pip_requirements=[])
    mlflow.pytorch.save_model(
        torch.nn.Sequential(network),
        tmp_path / "pytorch",
        serialization_format="pickle",
        pip_requirements=[],
    )
    client = Registry(uri, create=True).client
    client.create_registered_model("birds")
    for flavour in ("onnx", "pytorch"):
        client.create_model_version("birds", str(tmp_path / flavour))

    np.testing.assert_allclose(_logits(import_("models:/birds/v1")), own, rtol=1e-4)
    capsys.readouterr()
    assert main(["--import", "models:/birds/2", "--size", "16"]) == 2
    assert "--trust-pickle" in capsys.readouterr().err
    made = import_("models:/birds/2", "--size", "16", "--trust-pickle")
    np.testing.assert_allclose(_logits(made), own, rtol=1e-4, atol=1e-5)


def test_a_network_that_torch_exported_needs_no_pickle(
    store: Store, network: torch.nn.Module, tmp_path: Path, import_: Import, uri: str
) -> None:
    """MLflow's own format since 3.17, pt2."""
    example = np.zeros((2, 3, 16, 16), np.float32)
    mlflow.pytorch.save_model(
        torch.nn.Sequential(network).eval(),
        tmp_path / "exported",
        serialization_format="pt2",
        input_example=example,
        pip_requirements=[],
    )
    client = Registry(uri, create=True).client
    client.create_registered_model("exported-birds")
    client.create_model_version("exported-birds", str(tmp_path / "exported"))

    made = import_("models:/exported-birds/1", "--size", "16")

    own = _logits(store.bundle("2"))
    np.testing.assert_allclose(_logits(made), own, rtol=1e-4, atol=1e-5)


def _random(name: str = "out.1") -> list[onnx.NodeProto]:
    """Noise, as of a network that was exported in training mode."""
    return [
        helper.make_node("RandomNormalLike", ["out.0"], ["noise"], dtype=1),
        helper.make_node("Add", ["out.0", "noise"], [name]),
    ]


@pytest.mark.parametrize(
    ("options", "flags", "said"),
    [
        ({"sides": (16, 16), "layout": "nchw"}, ["--layout", "nhwc"], "no 3 channels"),
        ({"sides": ("H", "W")}, [], "--size 224"),
        ({}, ["--size", "32"], "16 x 16 pixels, not of 32"),
        ({"more": _random()}, [], "does not give the same answers"),
        ({}, ["--output", "probabilities"], "does not give probabilities"),
        (
            {"more": [helper.make_node("Nonsense", ["out.0"], ["out.1"])]},
            [],
            "Nonsense",
        ),
        ({"opset": 99}, [], "opset"),
        ({}, ["--arch", "resnet18"], "--arch is for weights"),
        ({}, ["--labels", "two.txt"], "10 classes, and the labels have 2"),
        ({}, ["--data", "digits"], "name them in the model's order"),
        ({}, ["--resize-to", "8"], "resize_to must be at least"),
    ],
)
def test_what_cannot_become_a_version_is_told_and_not_stored(
    store: Store,
    tmp_path: Path,
    uri: str,
    cache: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    options: dict[str, Any],
    flags: list[str],
    said: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "two.txt").write_text("a\nb\n")
    file = write_graph(tmp_path / "x.onnx", store.bundle("2"), **options)

    refused = ["--import", str(file), "--model", "refused", "--cache", str(cache)]
    code = main([*refused, *flags])

    error = capsys.readouterr().err
    assert code == 2
    assert said in error
    assert error.count("\n") == 1
    assert not Registry(uri).has_model("refused")


def test_a_batch_that_cannot_be_freed_is_refused(
    store: Store, tmp_path: Path, uri: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Another image's features come into an image's answer."""
    mixed = [
        helper.make_node("ReduceMean", ["out.0", "zero"], ["all"], keepdims=1),
        helper.make_node("Sub", ["out.0", "all"], ["out.1"]),
    ]
    zero = helper.make_node("Constant", [], ["zero"], value_ints=[0])
    file = write_graph(tmp_path / "x.onnx", store.bundle("2"), more=[zero, *mixed])

    assert main(["--import", str(file)]) == 2
    assert "in batches of 1 " in capsys.readouterr().err


@pytest.mark.parametrize("content", [b"", b"no graph", bytes(100)])
def test_a_file_that_is_no_onnx_is_told(
    tmp_path: Path, uri: str, capsys: pytest.CaptureFixture[str], content: bytes
) -> None:
    file = tmp_path / "x.onnx"
    file.write_bytes(content)

    assert main(["--import", str(file)]) == 2
    assert "is no ONNX file" in capsys.readouterr().err


def test_a_graph_is_imported_and_measured_without_torch(
    store: Store, tmp_path: Path, uri: str, model: str, cache: Path
) -> None:
    """Which takes 4 s to import."""
    file = write_graph(tmp_path / "x.onnx", store.bundle("2"))
    labels = tmp_path / "labels.txt"
    labels.write_text("\n".join(store.bundle("2").labels.ids))
    given = ["--import", str(file), "--size", "16", "--model", model]
    given += ["--data", "digits", "--labels", str(labels), "--cache", str(cache)]
    program = f"""
import sys
from training.__main__ import main
print(main({given}), "torch" in sys.modules)
"""

    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True
    )

    assert done.stdout.splitlines()[-1:] == ["0 False"], done.stderr


def test_external_data_outside_the_folder_is_not_read(
    store: Store, tmp_path: Path, uri: str, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    file = write_graph(
        folder / "x.onnx",
        store.bundle("2"),
        save_as_external_data=True,
        location="w.bin",
        size_threshold=0,
    )
    model = onnx.load(file, load_external_data=False)
    for tensor in model.graph.initializer:
        tensor.external_data[0].value = "../w.bin"
    file.write_bytes(model.SerializeToString())

    assert main(["--import", str(file)]) == 2
    assert "outside its folder, which is not read" in capsys.readouterr().err
