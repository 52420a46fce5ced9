"""Limits of time and memory while a version loads."""

import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import onnx
import pytest
from onnx import TensorProto, helper

from classifier.bundle.files import (
    GRAPH,
    WEIGHTS,
    BrokenBundle,
    Bundle,
    read_bundle,
)
from classifier.hardware import ONNX_FP32, Form
from classifier.inference.backends.open import plugin_version
from classifier.inference.predict import FailedCheck
from serving.versions.load_guard import (
    LoadGuard,
    LoadLimit,
    LoadLimits,
    LoadStopped,
    TooMuchMemory,
)
from serving.versions.trial_key import is_sized_by_shapes, trial_key
from tests.conftest import WAIT_SECONDS, Store, until
from tests.serving.graphs import endless, graph, of_megabytes, of_megabytes_an_image

GENEROUS = LoadLimits(seconds=WAIT_SECONDS, megabytes=1000)


@pytest.fixture(autouse=True)
def kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where trials that passed are noted."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    return tmp_path / "xdg" / "flipside" / "trials"


@pytest.fixture
def trials(monkeypatch: pytest.MonkeyPatch) -> list[subprocess.Popen[bytes]]:
    """All processes that were started."""
    started = []
    start = subprocess.Popen

    def begin(*args: object, **kwargs: object) -> object:
        started.append(start(*args, **kwargs))  # type: ignore[call-overload]  # as it was called
        return started[-1]

    monkeypatch.setattr(subprocess, "Popen", begin)
    return started


def _bundle(store: Store, data: bytes) -> Bundle:
    bundle = store.bundle("v1")
    bundle.graph.write_bytes(data)
    return bundle


def _names(folder: Path) -> list[str]:
    if not folder.is_dir():
        return []
    return [path.name for path in folder.iterdir() if not path.name.startswith(".")]


def test_epochs_of_a_run_are_tried_once_and_never_again(
    store: Store, kept: Path, trials: list[subprocess.Popen[bytes]]
) -> None:
    guard = LoadGuard(GENEROUS, threads=1)

    with ThreadPoolExecutor(2) as threads:
        for version in ("v1", "v2", "v1"):
            threads.submit(guard.try_out, store.bundle(version), largest=4)
    LoadGuard(GENEROUS, threads=1).try_out(store.bundle("v2"), largest=4)

    assert len(trials) == 1
    assert len(_names(kept)) == 1
    guard.try_out(store.bundle("v1"), largest=8)
    assert len(trials) == 2


def test_without_a_folder_of_the_users_a_trial_is_made_and_not_kept(
    store: Store,
    trials: list[subprocess.Popen[bytes]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", "/dev/null")
    monkeypatch.setattr("tempfile.tempdir", "/nowhere")
    guard = LoadGuard(GENEROUS, threads=1)

    for version in ("v1", "v2"):
        guard.try_out(store.bundle(version), largest=4)

    assert len(trials) == 1


def test_a_version_that_takes_too_much_memory_is_told(copy: Store, kept: Path) -> None:
    bundle = _bundle(copy, of_megabytes(3200))
    guard = LoadGuard(LoadLimits(seconds=WAIT_SECONDS, megabytes=128), threads=1)

    with pytest.raises(LoadLimit, match=r"more memory than the 128 MB .*--load-mega"):
        guard.try_out(bundle, largest=4)

    assert _names(kept) == []
    small = _bundle(copy, of_megabytes(1))
    guard.try_out(small, largest=4)


@pytest.mark.parametrize(("megabytes", "largest"), [(1, 16), (15, 4), (60, 1)])
def test_a_batch_has_as_many_images_as_the_memory_holds(
    megabytes: int, largest: int, copy: Store, kept: Path
) -> None:
    bundle = _bundle(copy, of_megabytes_an_image(megabytes))
    guard = LoadGuard(LoadLimits(seconds=WAIT_SECONDS, megabytes=200), threads=1)

    assert guard.largest_batch(bundle, largest=16) == largest


def test_a_version_of_which_no_image_fits_is_refused(copy: Store, kept: Path) -> None:
    bundle = _bundle(copy, of_megabytes_an_image(300))
    guard = LoadGuard(LoadLimits(seconds=WAIT_SECONDS, megabytes=200), threads=1)

    with pytest.raises(TooMuchMemory, match="more memory than the 200 MB"):
        guard.largest_batch(bundle, largest=16)


def test_a_version_that_never_ends_is_told_and_its_process_ended(
    copy: Store, kept: Path, trials: list[subprocess.Popen[bytes]]
) -> None:
    bundle = _bundle(copy, endless())
    guard = LoadGuard(LoadLimits(seconds=0.5, megabytes=1000), threads=1)

    with pytest.raises(LoadLimit, match=r"not loaded and warm after 0\.5 s"):
        guard.try_out(bundle, largest=4)

    assert [trial.poll() for trial in trials] == [-9]
    assert _names(kept) == []


@pytest.mark.parametrize(
    ("ending", "error", "message"),
    [
        ("kill -SEGV $$", FailedCheck, "ended by SIGSEGV"),
        ("kill -KILL $$", LoadLimit, "more memory than"),
        ("exit 7", RuntimeError, "ended with 7"),
        ("echo '['", RuntimeError, "ended with 0"),
    ],
)
def test_a_trial_that_ends_without_a_word_is_told(
    store: Store,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    ending: str,
    error: type[Exception],
    message: str,
) -> None:
    program = tmp_path / "python"
    program.write_text(f"#!/bin/sh\n{ending}\n")
    program.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(program))

    with pytest.raises(error, match=message):
        LoadGuard(GENEROUS, threads=1).try_out(store.bundle("v1"), largest=4)


def test_the_end_of_the_service_ends_a_trial_and_lets_none_begin(
    copy: Store, trials: list[subprocess.Popen[bytes]]
) -> None:
    bundle = _bundle(copy, endless())
    guard = LoadGuard(GENEROUS, threads=1)
    with ThreadPoolExecutor(1) as threads:
        trying = threads.submit(guard.try_out, bundle, largest=4)
        until(lambda: len(guard._trials) == 1)

        guard.stop()

        with pytest.raises(LoadStopped, match="being stopped"):
            trying.result(WAIT_SECONDS)
    with pytest.raises(LoadStopped):
        guard.try_out(copy.bundle("v2"), largest=4)
    with pytest.raises(LoadStopped):
        guard.within(_Loaded, late=TimeoutError())
    assert len(trials) == 1


class _Loaded:
    def __init__(self) -> None:
        self.closed = threading.Event()

    def close(self) -> None:
        self.closed.set()


def test_what_is_loaded_too_late_is_closed() -> None:
    loaded, go_on = _Loaded(), threading.Event()
    limits = LoadLimits(seconds=0.05, megabytes=1)
    guard = LoadGuard(limits, threads=1)

    def load() -> _Loaded:
        go_on.wait(WAIT_SECONDS)
        return loaded

    with pytest.raises(LoadLimit, match=r"after 0\.05 s"):
        guard.within(load, late=limits.took_too_long, drop=_Loaded.close)
    assert not loaded.closed.is_set()
    go_on.set()

    assert loaded.closed.wait(WAIT_SECONDS)


def test_the_end_of_the_service_waits_for_no_load() -> None:
    guard, begun, go_on = LoadGuard(GENEROUS, threads=1), *_events(2)

    def load() -> _Loaded:
        begun.set()
        go_on.wait(WAIT_SECONDS)
        return _Loaded()

    with ThreadPoolExecutor(1) as threads:
        loading = threads.submit(guard.within, load, late=TimeoutError())
        assert begun.wait(WAIT_SECONDS)
        guard.stop()
        with pytest.raises(LoadStopped):
            loading.result(WAIT_SECONDS)
    go_on.set()


def test_a_load_gives_what_it_makes_or_raises() -> None:
    guard, loaded = LoadGuard(GENEROUS, threads=1), _Loaded()

    def fail() -> _Loaded:
        raise TimeoutError("of its own")

    assert guard.within(lambda: loaded, late=LoadLimit()) is loaded
    with pytest.raises(TimeoutError, match="of its own"):
        guard.within(fail, late=LoadLimit())


def test_files_and_batches_that_are_too_large_are_told_before_they_are_read(
    copy: Store,
) -> None:
    bundle, limits = copy.bundle("v1"), LoadLimits(seconds=1, megabytes=1)

    limits.check_size(bundle, largest=32)
    with pytest.raises(LoadLimit, match=r"a batch of 4000 images of 16 x 16 has 3 MB"):
        limits.check_size(bundle, largest=4000)
    with bundle.graph.open("ab") as file:
        file.truncate(2**21)
    with pytest.raises(LoadLimit, match=rf"{GRAPH} and {WEIGHTS} have 2 MB"):
        limits.check_size(bundle, largest=32)


def _sized(bundle: Bundle, *nodes: onnx.NodeProto) -> None:
    model = onnx.load(bundle.graph, load_external_data=False)
    model.graph.node.extend(nodes)
    bundle.graph.write_bytes(model.SerializeToString())


BIAS = "network.8.bias"
CAST = helper.make_node("Cast", [BIAS], ["whole"], to=TensorProto.INT64)


@pytest.mark.parametrize(
    "nodes",
    [
        [CAST, helper.make_node("ConstantOfShape", ["whole"], ["huge"])],
        [helper.make_node("ConstantOfShape", ["whole"], ["huge"]), CAST],
        [helper.make_node("Resize", ["relu", "", BIAS], ["huge"])],
        [helper.make_node("Range", ["zero", BIAS, "one"], ["huge"])],
        [helper.make_node("Relu", [BIAS], ["x"], domain="others")],
        [
            helper.make_node(
                "Loop", ["", "", BIAS], ["x"], body=helper.make_graph([], "", [], [])
            )
        ],
    ],
    ids=["shape", "unordered", "scales", "range", "domain", "loop"],
)
def test_weights_that_may_decide_sizes_are_part_of_what_was_tried(
    copy: Store, nodes: list[onnx.NodeProto]
) -> None:
    bundle = copy.bundle("v1")
    _sized(bundle, *nodes)
    before = trial_key(bundle, ONNX_FP32)

    data = bytearray(bundle.weights.read_bytes())
    data[-1] ^= 1
    bundle.weights.write_bytes(data)

    assert trial_key(bundle, ONNX_FP32) != before


def test_weights_that_are_plain_numbers_are_not(copy: Store) -> None:
    bundle = copy.bundle("v1")
    _sized(
        bundle,
        helper.make_node("Shape", [BIAS], ["shape"]),
        helper.make_node("ConstantOfShape", ["shape"], ["zeros"]),
    )

    assert is_sized_by_shapes(bundle.graph)
    bundle.graph.write_bytes(graph())
    assert is_sized_by_shapes(bundle.graph)


def test_a_file_without_end_beside_the_graph_is_not_read(copy: Store) -> None:
    bundle = copy.bundle("v1")
    _sized(bundle, CAST, helper.make_node("ConstantOfShape", ["whole"], ["huge"]))
    before = trial_key(bundle, ONNX_FP32)

    with (bundle.folder / "notes").open("wb") as file:
        file.truncate(2**40)

    assert trial_key(bundle, ONNX_FP32) != before


@pytest.mark.parametrize("where", ["labels.json", "../weights.safetensors", ""])
def test_weights_in_another_file_are_part_of_what_was_tried(
    copy: Store, where: str
) -> None:
    bundle = copy.bundle("v1")
    model = onnx.load(bundle.graph, load_external_data=False)
    (tensor,) = (t for t in model.graph.initializer if t.name == BIAS)
    for entry in tensor.external_data:
        if entry.key == "location":
            entry.value = where
    bundle.graph.write_bytes(model.SerializeToString())

    assert not is_sized_by_shapes(bundle.graph)


@pytest.mark.parametrize("data", [b"", b"\x00", b"\x0a\xff", b"\xff" * 99, b"onnx" * 9])
def test_a_graph_that_is_none_is_sized_by_nothing_known(
    copy: Store, data: bytes
) -> None:
    assert not is_sized_by_shapes(_bundle(copy, data).graph)


def test_a_graph_that_is_cut_off_anywhere_is_looked_through_without_a_fault(
    copy: Store,
) -> None:
    bundle = copy.bundle("v1")
    whole = bundle.graph.read_bytes()

    for end in range(0, len(whole), 97):
        bundle.graph.write_bytes(whole[:end])
        is_sized_by_shapes(bundle.graph)

    bundle.graph.write_bytes(whole)
    assert read_bundle(bundle.folder)
    assert is_sized_by_shapes(bundle.graph)


def _events(count: int) -> Iterator[threading.Event]:
    return (threading.Event() for _ in range(count))


@pytest.mark.skipif(plugin_version() is None, reason="no extra openvino")
def test_each_engine_and_precision_is_tried_by_itself(
    store: Store, trials: list[subprocess.Popen[bytes]]
) -> None:
    guard, openvino = LoadGuard(GENEROUS, threads=1), Form("openvino")

    for form in (ONNX_FP32, openvino, openvino):
        guard.try_out(store.bundle("v1"), largest=4, form=form)

    assert len(trials) == 2


@pytest.mark.skipif(plugin_version() is None, reason="no extra openvino")
def test_an_engine_that_takes_too_much_memory_or_time_is_told(copy: Store) -> None:
    guard = LoadGuard(LoadLimits(seconds=WAIT_SECONDS, megabytes=128), threads=1)
    bundle = _bundle(copy, of_megabytes(3200))
    with pytest.raises((LoadLimit, BrokenBundle, FailedCheck)):
        guard.try_out(bundle, largest=4, form=Form("openvino"))

    hasty = LoadGuard(LoadLimits(seconds=3, megabytes=1000), threads=1)
    with pytest.raises(LoadLimit, match="not loaded and warm after 3 s"):
        hasty.try_out(_bundle(copy, endless()), largest=4, form=Form("openvino"))
