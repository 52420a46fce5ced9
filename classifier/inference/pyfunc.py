"""`mlflow.pyfunc.load_model`: a version that takes images in whatever form they are."""

import sys
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from classifier.bundle.files import Bundle, read_bundle
from classifier.images.base64_text import from_base64
from classifier.images.decoding import (
    PILLOW_FAILURES,
    ImageTooLarge,
    RgbImage,
    UndecodableImage,
    is_image,
    upright_rgb,
)
from classifier.images.decoding_cost import OWN_FILES_MEGAPIXELS
from classifier.inference.backends.onnx_runtime import OnnxBackend
from classifier.inference.predict import top_classes

if TYPE_CHECKING:
    import pandas as pd

COLUMNS = ("image", "images", "b64")
"""Names of the column or key that has the images, the first of them that is there."""

TOP = 5

BATCH_SIZE = 64

BYTES = (bytes, bytearray, memoryview)

SERVER = "mlflow.pyfunc.scoring_server.app"
"""The module of the process of `mlflow models serve`."""

FORMS = (
    "give a path, the bytes of a file, a file opened with 'rb', its text in base64, a "
    "PIL image or an array [H, W, 3] of uint8; one, a list, or a column 'image'"
)


def _load_pyfunc(path: str) -> "ImageModel":
    """MLflow calls this with the folder of a version's files."""
    return ImageModel(read_bundle(Path(path)))


class ImageModel:
    """A version as MLflow's python_function. Its errors are ValueErrors in words."""

    def __init__(self, bundle: Bundle) -> None:
        self._bundle = bundle
        self._backend = OnnxBackend.for_one_batch_at_a_time(bundle)

    def predict(self, data: Any) -> "pd.DataFrame | dict[str, NDArray[np.float32]]":
        """The best classes of images, a row each; or logits of pixels.

        The row has index, id, name and probability of the best, and the five best as
        `top`. Pixels are uint8 [N, H, W, 3] of the version's exact size, or the same
        numbers of another type, as JSON has them.
        """
        import pandas as pd

        items = _items(data)
        if (pixels := self._pixels(items)) is not None:
            return {"logits": self._logits(pixels)}
        images = np.stack([self._image(item, n) for n, item in enumerate(items)])
        count = min(TOP, len(self._bundle.labels))
        tops = top_classes(self._bundle.labels, self._logits(images), count)
        rows = [[asdict(answer) for answer in top] for top in tops]
        frame = pd.DataFrame([row[0] for row in rows])
        return frame.assign(top=pd.Series(rows))

    def _logits(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        parts = range(0, len(images), BATCH_SIZE)
        return np.concatenate(
            [
                self._backend.logits(images[start : start + BATCH_SIZE])
                for start in parts
            ]
        )

    def _pixels(self, items: Any) -> NDArray[np.uint8] | None:
        """The items if they are one array of the version's size, else None."""
        preprocessing = self._bundle.preprocessing
        shape = (preprocessing.height, preprocessing.width, 3)
        if not isinstance(items, np.ndarray) or items.shape[1:] != shape:
            return None
        return _whole(items, "the array")

    def _image(self, item: Any, place: int) -> RgbImage:
        name = f"image {place}"
        preprocessing = self._bundle.preprocessing
        if isinstance(item, np.ndarray):
            item = _picture(item, name)
        if isinstance(item, Image.Image):
            return preprocessing.resizing(_opened(item, name))
        try:
            return preprocessing.image(
                _file(item, name), max_megapixels=OWN_FILES_MEGAPIXELS
            )
        except (UndecodableImage, ImageTooLarge) as error:
            raise ValueError(f"{name}: {error}") from error


def _items(data: Any) -> Any:
    """The images one by one: a list, or an array whose first axis counts them."""
    if hasattr(data, "columns"):  # a pandas.DataFrame
        data = {str(name): data[name] for name in data.columns}
    if isinstance(data, Mapping):
        data = _column(data)
    if hasattr(data, "to_list"):  # a pandas.Series
        data = data.to_list()
    if isinstance(data, np.ndarray) and data.dtype.kind in "OUS":
        data = data.ravel().tolist()
    if isinstance(data, np.ndarray):
        items: Any = data[None] if data.ndim in (0, 2, 3) else data
    elif isinstance(data, (str, *BYTES, PathLike, Image.Image)) or _is_file(data):
        items = [data]
    elif isinstance(data, Iterable):
        items = [_column(d) if isinstance(d, Mapping) else d for d in data]
    else:
        raise ValueError(f"there is no image in a {type(data).__name__}; {FORMS}")
    if not len(items):
        raise ValueError(f"there is no image; {FORMS}")
    return items


def _column(found: Mapping[Any, Any]) -> Any:
    if not found:
        raise ValueError(f"there is no image in an empty mapping; {FORMS}")
    named = [name for name in COLUMNS if name in found] or list(found)[:2]
    if len(found) != 1 and named[0] not in COLUMNS:
        raise ValueError(
            f"none of the columns {', '.join(map(str, list(found)[:5]))} is called "
            f"'image'; {FORMS}"
        )
    return found[named[0]]


def _file(item: Any, name: str) -> bytes:
    """The bytes of an image's file. Raises ValueError if there is none."""
    if _is_file(item):
        item = _read(item, name)
    if isinstance(item, BYTES):
        return bytes(item)
    if not isinstance(item, (str, PathLike)):
        raise ValueError(f"{name} is a {type(item).__name__}; {FORMS}")
    data = _of_base64(item)
    if data is not None and is_image(data):
        return data
    # Whoever sends a request to `mlflow models serve` must not name files of its own.
    if SERVER not in sys.modules:
        try:
            return Path(item).read_bytes()
        except (OSError, ValueError) as error:
            why = getattr(error, "strerror", None) or error
            raise ValueError(
                f"{name}, {str(item)[:80]!r}, is no image in base64 and no file that "
                f"can be read ({why}); {FORMS}"
            ) from error
    if data is None:
        raise ValueError(f"{name} is not base64")
    return data


def _is_file(item: Any) -> bool:
    """Whether it is open to be read, as those of open(), zipfile and io.BytesIO are."""
    return callable(getattr(item, "read", None))


def _read(file: Any, name: str) -> bytes:
    try:
        data = file.read()
    except (OSError, ValueError) as error:  # a closed file, or one to be written
        raise ValueError(f"{name} is a file that cannot be read: {error}") from error
    if not isinstance(data, bytes):
        raise ValueError(
            f"{name} is a file that reads {type(data).__name__}; open it with 'rb'"
        )
    return data


def _opened(image: Image.Image, name: str) -> RgbImage:
    """Pillow opens a file by its header, and decodes it here."""
    try:
        return upright_rgb(image)
    except PILLOW_FAILURES as error:
        raise ValueError(
            f"{name} is a PIL image that cannot be decoded ({error}); its file is cut "
            f"off, damaged or closed"
        ) from error


def _of_base64(item: Any) -> bytes | None:
    try:
        return from_base64(item) if isinstance(item, str) else None
    except ValueError:
        return None


def _picture(array: NDArray[Any], name: str) -> Image.Image:
    """An array in grey [H, W], in colour, or with transparency, as an image."""
    if array.ndim == 3 and array.shape[2] == 1:
        array = array[:, :, 0]
    is_coloured = array.ndim == 3 and array.shape[2] in (3, 4)
    if array.ndim != 2 and not is_coloured:
        raise ValueError(f"{name} is {list(array.shape)}; an array is [H, W, 3]")
    return Image.fromarray(_whole(array, name))


def _whole(array: NDArray[Any], name: str) -> NDArray[np.uint8]:
    """Raises ValueError for other numbers than 0, 1, … 255."""
    if array.dtype == np.uint8:
        return array
    if array.dtype.kind not in "iuf" or not (
        ((array >= 0) & (array <= 255) & (array % 1 == 0)).all()
    ):
        raise ValueError(
            f"{name} has values that are no whole numbers of 0 to 255 ({array.dtype}); "
            f"the version normalises them itself"
        )
    return array.astype(np.uint8)
