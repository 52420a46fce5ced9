"""Answers by Ray Data: a stage that decodes, actors with both networks, Parquet."""

import logging
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from classifier.bundle.files import Bundle, read_bundle
from classifier.console.exits import NotNow
from classifier.datasets.dataset import UnreadableImage, read_image
from classifier.hardware import usable_cores
from classifier.images.resizing import Resizing
from compare.collect.answer_store import AnswerStore
from compare.collect.collector import UNREADABLE_FILE
from compare.collect.images import Images
from compare.collect.offline.networks import (
    Networks,
    VersionNetworks,
    resize_all,
    sizes_of,
)
from compare.collect.schema import Answer, NoAnswer, ServedVersion, TopAnswer

WRITTEN = "answers.parquet"
"""The folder into which the workers write; its answers go on into the answer store."""

NETWORK_CORES, OTHER_CORES = 0.8, 0.1
"""What Ray counts for an actor and for a task that decodes or writes. Each actor keeps
a core busy, and the tasks take little of it."""

BLOCK_BATCHES = 16
"""Batches in a block of Ray: a file of answers, and what an interruption repeats."""

STORE_BYTES = 512 * 1024 * 1024
"""Memory for the images that wait, where Ray is started here."""

_ANSWER: Mapping[str, "pa.DataType"] = {
    "indices": pa.list_(pa.int32()),
    "probabilities": pa.list_(pa.float64()),
    "code": pa.string(),
    "message": pa.string(),
}
SCHEMA = pa.schema(
    [
        ("image", pa.string()),
        *((f"{side}_{name}", kind) for side in "ab" for name, kind in _ANSWER.items()),
    ]
)

logger = logging.getLogger(__name__)


class NoRay(NotNow, RuntimeError):
    """Ray is not installed, or cannot be reached or started."""


class RayFailed(NotNow, RuntimeError):
    """Ray's workers failed; the answers that they wrote are kept."""


def answer_on_ray(
    networks: VersionNetworks,
    images: Images,
    store: AnswerStore,
    versions: tuple[ServedVersion, ServedVersion],
    *,
    batch_size: int,
) -> None:
    """Add the answers that `store` lacks. Raises NoRay or RayFailed."""
    written = store.folder / WRITTEN
    _take(written, store)  # of a run that was interrupted
    files = dict(zip(images.names, map(str, images.files), strict=True))
    missing = [name for name in images.names if name not in store.kept]
    if not missing:
        return
    with _ray() as cores:
        logger.info("both networks run on %d cores in Ray", cores)
        _run(
            [(name, files[name]) for name in missing],
            [networks.bundles[version.key] for version in versions],
            written,
            max_megapixels=networks.max_megapixels,
            batch_size=batch_size,
            actors=cores,
        )
    _take(written, store)


@contextmanager
def _ray() -> Iterator[int]:
    """Yield the number of cores of the cluster, or of a Ray that is started here."""
    # Else it reports to its makers, and warns of what is not so here.
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")
    # Its default of 15 hardly lets them run beside any other program.
    os.environ.setdefault("RAY_worker_niceness", "0")
    try:
        import ray
    except ModuleNotFoundError as error:
        raise NoRay(
            "--engine ray needs Ray, which is not installed; install flipside[ray]"
        ) from error
    address = os.environ.get("RAY_ADDRESS")
    here: dict[str, Any] = {
        "num_cpus": usable_cores(),
        "object_store_memory": STORE_BYTES,
        "include_dashboard": False,
    }
    try:
        ray.init(
            address=address or "local",
            logging_level=logging.ERROR,
            log_to_driver=False,
            **({} if address else here),
        )
    except Exception as error:  # Ray's errors share no class of their own
        where = f"at {address}, which RAY_ADDRESS names" if address else "here"
        raise NoRay(f"Ray cannot be used {where}: {_first_line(error)}") from error
    try:
        yield max(1, int(ray.cluster_resources().get("CPU", 1)))
    finally:
        ray.shutdown()


def _run(
    items: Sequence[tuple[str, str]],
    bundles: Sequence[Bundle],
    written: Path,
    *,
    max_megapixels: float,
    batch_size: int,
    actors: int,
) -> None:
    """Ray Data's pipeline. Raises RayFailed."""
    import ray
    import ray.data

    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = sys.stderr.isatty()
    logging.getLogger("ray.data").setLevel(logging.ERROR)
    # Cut here: a task of Ray's that cuts would wait for a core, and actors have them.
    size = batch_size * min(BLOCK_BATCHES, -(-len(items) // (batch_size * actors)))
    blocks = [
        pa.table({"image": [n for n, _ in block], "file": [f for _, f in block]})
        for block in (items[k : k + size] for k in range(0, len(items), size))
    ]
    try:
        # By value: other machines have neither the store nor its files.
        files = ray.put([_files(bundle) for bundle in bundles])
        ray.data.from_arrow(blocks).map_batches(
            decode,
            batch_size=batch_size,
            fn_kwargs={
                "resizings": sizes_of(bundles),
                "max_megapixels": max_megapixels,
            },
            num_cpus=OTHER_CORES,
        ).map_batches(
            Answering,
            batch_size=batch_size,
            fn_constructor_args=([files],),
            num_cpus=NETWORK_CORES,
            compute=ray.data.ActorPoolStrategy(size=min(actors, len(blocks))),
        ).write_parquet(
            str(written.absolute()), ray_remote_args={"num_cpus": OTHER_CORES}
        )
    except Exception as error:  # Ray's errors share no class of their own
        raise RayFailed(
            f"Ray's workers failed: {_first_line(error)}; what was answered is kept, "
            "and the same command goes on from there"
        ) from error


def _files(bundle: Bundle) -> dict[str, bytes]:
    """The files of a version that answering takes, by name."""
    return {
        file.name: file.read_bytes()
        for file in bundle.folder.iterdir()
        if file.suffix in (".json", ".onnx", ".safetensors")
    }


def decode(
    batch: Mapping[str, Any], *, resizings: Sequence[Resizing], max_megapixels: float
) -> dict[str, Any]:
    """The images of a batch as the networks see them; black where there is none."""
    black = [np.zeros((each.height, each.width, 3), np.uint8) for each in resizings]
    rows, failures = [], []
    for file in batch["file"]:
        try:
            data = read_image(Path(file))
            found = resize_all(data, resizings, max_megapixels=max_megapixels)
        except UnreadableImage as error:
            found = NoAnswer(UNREADABLE_FILE, str(error))
        rows.append(black if isinstance(found, NoAnswer) else found)
        failures.append(found if isinstance(found, NoAnswer) else NoAnswer("", ""))
    sizes = {
        f"size_{n}": np.stack(each) for n, each in enumerate(zip(*rows, strict=True))
    }
    return {
        "image": batch["image"],
        "code": [failure.code for failure in failures],
        "message": [failure.message for failure in failures],
        **sizes,
    }


class Answering:
    """An actor of Ray: it holds the networks of both versions."""

    def __init__(self, files: Sequence[Any]) -> None:
        """`files` is Ray's reference to the files of each version, in a list."""
        import ray

        # A network that is open needs its files no more.
        with tempfile.TemporaryDirectory(prefix="flipside-") as place:
            bundles = []
            for number, of_version in enumerate(ray.get(files[0])):
                folder = Path(place, str(number))
                folder.mkdir()
                for name, data in of_version.items():
                    (folder / name).write_bytes(data)
                bundles.append(read_bundle(folder))
            self._networks = Networks(bundles)

    def __call__(self, batch: Mapping[str, Any]) -> "pa.Table":
        is_image = np.array([not code for code in batch["code"]])
        sizes = range(len(self._networks.resizings))
        pixels = [np.asarray(batch[f"size_{n}"])[is_image] for n in sizes]
        answered = iter(self._networks.answers(pixels))
        rows = []
        for name, code, message in zip(
            batch["image"], batch["code"], batch["message"], strict=True
        ):
            failure = NoAnswer(str(code), str(message))
            pair = (failure, failure) if code else next(answered)
            row: dict[str, Any] = {"image": str(name)}
            for side, answer in zip("ab", pair, strict=True):
                row |= {f"{side}_{k}": v for k, v in _to_row(answer).items()}
            rows.append(row)
        return pa.Table.from_pylist(rows, schema=SCHEMA)


def _to_row(answer: Answer) -> dict[str, Any]:
    if isinstance(answer, NoAnswer):
        return {"code": answer.code, "message": answer.message}
    return {"indices": answer.indices, "probabilities": answer.probabilities}


def _take(written: Path, store: AnswerStore) -> None:
    """Move the answers that workers wrote into the store.

    A file of a worker that was killed is cut off; its images are asked again.
    """
    for file in sorted(written.glob("*.parquet")):
        try:
            rows = pq.read_table(file, schema=SCHEMA).to_pylist()
        except (OSError, pa.ArrowInvalid):
            logger.info("left out %s, which was not finished", file.name)
            continue
        store.add(
            {row["image"]: (_answer(row, "a"), _answer(row, "b")) for row in rows}
        )
    shutil.rmtree(written, ignore_errors=True)


def _answer(row: Mapping[str, Any], side: str) -> Answer:
    if row[f"{side}_code"] is not None:
        return NoAnswer(row[f"{side}_code"], row[f"{side}_message"])
    return TopAnswer(tuple(row[f"{side}_indices"]), tuple(row[f"{side}_probabilities"]))


def _first_line(error: BaseException) -> str:
    """The reason in one line; Ray's own begins with a worker's whole traceback."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1] if lines else type(error).__name__
