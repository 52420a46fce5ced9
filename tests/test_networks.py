"""Networks by name, from the first step to an answer of the service."""

import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from classifier.bundle.network import NetworkNotAllowed, UnfitSize
from classifier.console.exits import WrongUsage
from classifier.metrics import softmax
from classifier.networks.image_classifier import ImageClassifier
from serving.app import create_app
from serving.config import ServingConfig
from tests.conftest import Store, encoded, picture, until
from training.config.commands import ResumeConfig
from training.config.settings import TrainingConfig
from training.recipes import FULL_BATCH, RECIPES
from training.train import train

QUICK = ("squeezenet1_1", "shufflenet_v2_x0_5", "timm:mobilenetv3_small_050")
SLOW = (
    *("alexnet", "convnext_tiny", "densenet121", "efficientnet_b0", "googlenet"),
    *("inception_v3", "maxvit_t", "mnasnet0_5", "mobilenet_v2", "mobilenet_v3_small"),
    *("regnet_y_400mf", "resnet34", "swin_t", "swin_v2_t", "vgg11", "vgg11_bn"),
    *("vit_b_32", "timm:resnet10t", "timm:vit_tiny_patch16_224"),
)
FUNCTION = """
from torch import nn

def build(classes):
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, 2), nn.BatchNorm2d(8), nn.ReLU(), nn.Dropout(0.2),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, classes),
    )
"""


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Nine photographs for training and six for validation, of three classes."""
    root = tmp_path / "photos"
    for part, count in (("train", 3), ("val", 2)):
        for place, name in enumerate(("bird", "cat", "dog")):
            folder = root / part / name
            folder.mkdir(parents=True)
            for number in range(count):
                image = picture(60, 80 + 9 * number, seed=7 * place + number)
                (folder / f"{number}.png").write_bytes(encoded(image, "PNG"))
    return root


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    made = Store(tmp_path, "photos")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", made.uri)
    return made


def settings(photos: Path, cache: Path, **more: object) -> TrainingConfig:
    values = {"data": str(photos), "model": "photos", "epochs": 1, "device": "cpu"}
    return TrainingConfig(**{**values, "cache": cache, **more})  # type: ignore[arg-type]


def check_answers(store: Store, version: str, file: Path, **more: object) -> None:
    """The service answers what torch computes from the version's files."""
    bundle = store.bundle(version)
    data = file.read_bytes()
    image = bundle.preprocessing.image(data)
    classifier = ImageClassifier.from_bundle(bundle, allowed={"nets_of_tests:build"})
    with torch.inference_mode():
        logits = classifier(torch.from_numpy(np.array(image[None]))).numpy()
    settings = {"model": "photos", "versions": version, **more}
    client = create_app(ServingConfig(**settings)).test_client()  # type: ignore[arg-type]
    until(lambda: client.get("/readyz").status_code == 200)
    answer = client.post(
        "/predict", data=data, content_type="image/png", query_string={"top_k": 3}
    )
    assert answer.status_code == 200, answer.text
    (result,) = answer.get_json()["results"]
    found = {top["index"]: top["probability"] for top in result["top"]}
    expected = softmax(logits)[0]
    # fp32 sums in another order.
    np.testing.assert_allclose([found[i] for i in range(3)], expected, atol=1e-4)


@pytest.mark.parametrize(
    "arch", [*QUICK, *(pytest.param(name, marks=pytest.mark.soak) for name in SLOW)]
)
def test_a_network_trains_is_published_and_serves(
    arch: str, photos: Path, store: Store, cache: Path
) -> None:
    train(settings(photos, cache, arch=arch, batch_size=4), arguments=[])

    check_answers(store, "v1", photos / "val" / "cat" / "0.png")


def test_a_network_of_the_users_trains_and_serves(
    photos: Path,
    store: Store,
    cache: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    (tmp_path / "nets_of_tests.py").write_text(FUNCTION)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "nets_of_tests", raising=False)

    train(
        settings(photos, cache, arch="nets_of_tests:build", crop="center"),
        arguments=[],
    )

    bundle = store.bundle("v1")
    assert bundle.network.source == "nets_of_tests:build"
    assert bundle.preprocessing.resize_to == 64
    dog = photos / "val" / "dog" / "1.png"
    check_answers(store, "v1", dog)
    check_answers(
        store, "v1", dog, backend="torch", allow_network="nets_of_tests:build"
    )
    with pytest.raises(NetworkNotAllowed, match="--allow-network nets_of_tests:build"):
        ImageClassifier.from_bundle(bundle)


def test_a_run_starts_from_a_file_and_from_a_version(
    photos: Path,
    store: Store,
    cache: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Only the head learns, so the rest stays what the file has."""
    train(settings(photos, cache, arch="resnet18", image_size=32), arguments=[])
    first = load_file(store.bundle("v1").weights)
    others = {**first, "fc.weight": torch.zeros(9, 512), "fc.bias": torch.zeros(9)}
    save_file(others, tmp_path / "others.safetensors")

    for weights in (str(tmp_path / "others.safetensors"), "v1"):
        train(
            settings(
                photos,
                cache,
                weights=weights,
                train_only="head",
                image_size=32,
                randaugment=9,
                mixup=0.0,
            ),
            arguments=[],
        )
    # Flags that change images are not left out in silence.
    assert "--randaugment: no effect" in capsys.readouterr().out

    client = store.registry.client
    run = client.get_model_version("photos", "2").run_id
    settings_logged = client.get_run(run).data.params
    # A head alone has a recipe of its own.
    assert settings_logged["recipe_label_smoothing"] == "0.0"
    assert float(settings_logged["lr"]) != RECIPES["finetune"].lr * 2 / FULL_BATCH

    # A finished run goes on; the layers below the head are those of its state.
    train(ResumeConfig(run="last", given={"epochs": 2}), arguments=[])
    for version in ("v2", "v3", "v4"):
        learnt = load_file(store.bundle(version).weights)
        changed = {n for n in first if not torch.equal(first[n], learnt[n])}
        assert changed == {"fc.weight", "fc.bias"}


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ("nn.Flatten()", "has nothing to train"),
        ("nn.LazyLinear(3)", "has lazy layers"),
        ("nn.Conv2d(3, 3, 1)", r"answered \(1, 3, 64, 64\) for one"),
    ],
)
def test_a_function_must_build_a_classifier(
    body: str,
    reason: str,
    photos: Path,
    store: Store,
    cache: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    text = f"from torch import nn\n\ndef build(classes):\n    return {body}\n"
    (tmp_path / "nets_of_tests.py").write_text(text)
    monkeypatch.syspath_prepend(tmp_path)

    with pytest.raises(WrongUsage, match=reason):
        train(settings(photos, cache, arch="nets_of_tests:build"), arguments=[])


def test_a_size_that_a_network_refuses_is_wrong_usage(
    photos: Path, store: Store, cache: Path
) -> None:
    with pytest.raises(UnfitSize, match="alexnet cannot take images of 16 x 16"):
        train(settings(photos, cache, arch="alexnet", image_size=16), arguments=[])
    vit = "timm:vit_tiny_patch16_224"
    with pytest.raises(UnfitSize, match=f"{vit} takes images of 224 x 224 pixels only"):
        train(settings(photos, cache, arch=vit, image_size=64), arguments=[])

    assert not store.registry.has_model("photos")
