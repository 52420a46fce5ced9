"""A version as MLflow's python_function: what it takes and gives, and its errors."""

import base64
import subprocess
import sys
from collections.abc import Callable
from importlib.metadata import version as version_of
from io import BytesIO, StringIO
from pathlib import Path
from typing import Any

import mlflow.pyfunc
import numpy as np
import pandas as pd
import pytest
from PIL import Image

from classifier.bundle.files import Bundle
from classifier.inference import pyfunc
from classifier.inference.backends.onnx_runtime import OnnxBackend
from classifier.inference.predict import Prediction, predict
from tests.conftest import Store, encoded, picture

FILES = [encoded(picture(seed=seed), "PNG") for seed in range(3)]


@pytest.fixture(scope="module")
def read(store: Store, tmp_path_factory: pytest.TempPathFactory) -> Store:
    """A copy, as MLflow leaves a note where it read a version."""
    return store.copy(tmp_path_factory.mktemp("read") / "store")


@pytest.fixture(scope="module")
def bundle(read: Store) -> Bundle:
    return read.bundle("2")


@pytest.fixture(scope="module")
def model(read: Store) -> mlflow.pyfunc.PyFuncModel:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MLFLOW_TRACKING_URI", read.uri)
        return mlflow.pyfunc.load_model(f"models:/{read.model}/2")


@pytest.fixture(scope="module")
def expected(bundle: Bundle) -> list[tuple[Prediction, ...]]:
    backend = OnnxBackend.for_one_batch_at_a_time(bundle)
    return predict(FILES, bundle, backend, count=5)


def _texts() -> list[str]:
    return [base64.b64encode(data).decode() for data in FILES]


def _pictures() -> list[Image.Image]:
    return [picture(seed=seed) for seed in range(3)]


def _arrays() -> list[Any]:
    return [np.asarray(image) for image in _pictures()]


@pytest.mark.parametrize(
    "given",
    [
        lambda paths: paths,
        lambda paths: list(map(str, paths)),
        lambda paths: np.array(list(map(str, paths))),
        lambda paths: FILES,
        lambda paths: [bytearray(FILES[0]), memoryview(FILES[1]), FILES[2]],
        lambda paths: [BytesIO(FILES[0]), *paths[1:]],
        lambda paths: _texts(),
        lambda paths: np.array(_texts()),
        lambda paths: [{"b64": text} for text in _texts()],
        lambda paths: {"image": _texts()},
        lambda paths: _pictures(),
        lambda paths: _arrays(),
        lambda paths: np.stack(_arrays()),
        lambda paths: np.stack(_arrays()).astype(float),
        lambda paths: [paths[0], FILES[1], _pictures()[2]],
        lambda paths: pd.Series(paths),
        lambda paths: pd.DataFrame({"image": FILES}),
        lambda paths: pd.DataFrame({"any": _pictures()}),
        lambda paths: pd.DataFrame({"label": [1, 2, 3], "image": _texts()}),
    ],
)
def test_images_in_any_form_give_their_classes(
    model: mlflow.pyfunc.PyFuncModel,
    expected: list[tuple[Prediction, ...]],
    tmp_path: Path,
    given: Callable[[list[Path]], Any],
) -> None:
    paths = [tmp_path / f"{n}.png" for n in range(3)]
    for path, data in zip(paths, FILES, strict=True):
        path.write_bytes(data)

    frame = model.predict(given(paths))

    assert list(frame.columns) == ["index", "id", "name", "probability", "top"]
    for row, top in zip(frame.itertuples(), expected, strict=True):
        assert (row.index, row.id, row.name) == (top[0].index, top[0].id, top[0].name)
        assert [answer["id"] for answer in row.top] == [answer.id for answer in top]
        assert row.probability == pytest.approx(top[0].probability, abs=1e-5)


@pytest.mark.parametrize("place", range(7))
def test_a_single_image_gives_a_single_row(
    model: mlflow.pyfunc.PyFuncModel,
    expected: list[tuple[Prediction, ...]],
    place: int,
) -> None:
    given: list[Any] = [FILES[0], _texts()[0], _pictures()[0], _arrays()[0]]
    given += [bytearray(FILES[0]), memoryview(FILES[0]), BytesIO(FILES[0])]

    frame = model.predict(given[place])

    assert list(frame["id"]) == [expected[0][0].id]


def test_an_open_file_is_an_image(
    model: mlflow.pyfunc.PyFuncModel,
    expected: list[tuple[Prediction, ...]],
    tmp_path: Path,
) -> None:
    (tmp_path / "x.png").write_bytes(FILES[0])

    with (tmp_path / "x.png").open("rb") as file:
        frame = model.predict(file)

    assert list(frame["id"]) == [expected[0][0].id]
    with pytest.raises(ValueError, match="image 0 is a file that cannot be read"):
        model.predict(file)  # it is closed


def test_pixels_of_the_exact_size_give_logits(
    model: mlflow.pyfunc.PyFuncModel, bundle: Bundle
) -> None:
    pixels = np.stack([bundle.preprocessing.image(data) for data in FILES])
    own = OnnxBackend.for_one_batch_at_a_time(bundle).logits(pixels)

    for given in (pixels, {"images": pixels}, pixels.astype(np.int64)):
        answer = model.predict(given)
        assert [*answer] == ["logits"]
        np.testing.assert_array_equal(answer["logits"], own)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ([], "there is no image"),
        ({}, "there is no image in an empty mapping; give a path"),
        ([{}], "there is no image in an empty mapping"),
        (np.array(7), "image 0 is a int64"),
        (StringIO("text"), "image 0 is a file that reads str; open it with 'rb'"),
        ([FILES[0], BytesIO(b"no image")], "image 1: 8 bytes are not an image"),
        (Image.open(BytesIO(FILES[0][:150])), "image 0 is a PIL image that cannot be"),
        (7, "there is no image in a int"),
        ([FILES[0], 7], "image 1 is a int; give a path"),
        ([FILES[0], b"no image"], "image 1: 8 bytes are not an image"),
        ("no/such.png", "image 0, 'no/such.png', is no image in base64 and no file"),
        ("x" * 5000, "no file that can be read"),
        ("photos/cat", "no file that can be read"),
        (np.zeros((3, 8, 8, 7), np.uint8), r"image 0 is \[8, 8, 7\]"),
        (np.full((2, 9, 9, 3), 0.5), "no whole numbers of 0 to 255"),
        (np.full((2, 16, 16, 3), 256), "no whole numbers of 0 to 255"),
        (pd.DataFrame({"a": ["x"], "b": ["y"]}), "none of the columns a, b is called"),
    ],
)
def test_what_is_no_image_is_told(
    model: mlflow.pyfunc.PyFuncModel, given: Any, said: str
) -> None:
    with pytest.raises(ValueError, match=said):
        model.predict(given)


def test_the_process_of_mlflow_models_serve_reads_no_paths(
    model: mlflow.pyfunc.PyFuncModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "x.png").write_bytes(FILES[0])
    monkeypatch.setitem(sys.modules, pyfunc.SERVER, pyfunc)

    with pytest.raises(ValueError, match="image 0 is not base64"):
        model.predict([str(tmp_path / "x.png")])


def test_mlmodel_says_what_it_takes_and_gives(
    model: mlflow.pyfunc.PyFuncModel,
) -> None:
    assert "uint8 [N, 16, 16, 3]" in model.metadata.metadata["takes"]
    outputs = model.metadata.get_output_schema()
    assert outputs.input_names() == ["index", "id", "name", "probability", "top"]
    assert model.loader_module == "classifier.inference.pyfunc"


def test_a_version_made_before_keeps_its_loader(store: Store, tmp_path: Path) -> None:
    old = store.copy(tmp_path / "store")
    bundle = old.bundle("2")
    file = bundle.folder / "MLmodel"
    text = file.read_text().replace(
        "loader_module: classifier.inference.pyfunc",
        "data: model.onnx\n    loader_module: mlflow.onnx",
    )
    file.write_text(text)
    pixels = np.zeros((2, 16, 16, 3), np.uint8)

    model = mlflow.pyfunc.load_model(str(bundle.folder))

    assert model.loader_module == "mlflow.onnx"
    own = OnnxBackend.for_one_batch_at_a_time(bundle).logits(pixels)
    np.testing.assert_allclose(
        model.predict({"images": pixels})["logits"], own, rtol=1e-4, atol=1e-5
    )


WITHOUT_FLIPSIDE = """
import sys
import mlflow.pyfunc
from mlflow.utils.requirements_utils import importlib_metadata
class Hidden:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == "classifier":
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
sys.meta_path.insert(0, Hidden())
version = importlib_metadata.version
def without(name):
    if name == "flipside":
        raise importlib_metadata.PackageNotFoundError(name)
    return version(name)
importlib_metadata.version = without
importlib_metadata.packages_distributions = dict
mlflow.pyfunc.load_model(sys.argv[1])
"""


def test_where_flipside_is_not_installed_mlflow_says_so(bundle: Bundle) -> None:
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", WITHOUT_FLIPSIDE, str(bundle.folder)],
        capture_output=True,
        text=True,
    )

    assert done.returncode == 1
    installed = (
        f"flipside (current: uninstalled, required: flipside=={version_of('flipside')})"
    )
    assert installed in done.stderr
    assert "No module named 'classifier'" in done.stderr
