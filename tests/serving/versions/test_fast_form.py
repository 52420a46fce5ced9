"""The fast form of a version: measured on the kept images, served if it is proved."""

import queue
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from classifier.bundle.files import KEPT_IMAGES
from classifier.hardware import ONNX_FP32, Form
from classifier.inference.backends import open as engines
from classifier.inference.backends.base import Backend
from classifier.inference.backends.open import open_backend
from classifier.inference.predict import warm_up
from serving.app import create_app
from serving.config import ServingConfig
from serving.inference.predictor import Predictor, Proof
from serving.metrics import Metrics
from serving.versions.fast_form import LEAST_GAIN, Finding, Measured
from serving.versions.load_guard import LoadGuard
from serving.versions.loading import open_pool
from serving.versions.pool import PredictorPool
from tests.conftest import WAIT_SECONDS, Store
from tests.serving.graphs import of_megabytes

INT8, BF16 = Form("onnx", "int8"), Form("openvino", "bf16")


@pytest.fixture(autouse=True)
def kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where findings are kept."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    return tmp_path / "xdg" / "flipside" / "forms"


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[Form]:
    """The forms that were asked about the kept images."""
    forms: list[Form] = []
    ask = LoadGuard.ask

    def noted(
        guard: LoadGuard, bundle: Any, form: Form, *args: Any, **named: Any
    ) -> Any:
        forms.append(form)
        return ask(guard, bundle, form, *args, **named)

    monkeypatch.setattr(LoadGuard, "ask", noted)
    return forms


def _measured(
    form: Form, speed: float, flips: float, failure: str | None = None
) -> Measured:
    return Measured(form=form, images_per_second=speed, flips=flips, failure=failure)


def _pool(store: Store, config: ServingConfig) -> PredictorPool:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MLFLOW_TRACKING_URI", store.uri)
        pool = open_pool(config, Metrics())
    pool.load_wanted()
    return pool


@pytest.fixture
def settled(monkeypatch: pytest.MonkeyPatch) -> Callable[[], Predictor]:
    """Waits for the next predictor whose form is decided."""
    decided: queue.Queue[Predictor] = queue.Queue()
    use = Predictor.use

    def noted(predictor: Predictor, backend: Backend, proof: Proof) -> None:
        use(predictor, backend, proof)
        decided.put(predictor)

    monkeypatch.setattr(Predictor, "use", noted)
    # A process is started for each form.
    return lambda: decided.get(timeout=5 * WAIT_SECONDS)


def test_the_fastest_form_within_the_gate_is_best() -> None:
    first = _measured(ONNX_FP32, 100, 0)
    int8, bf16 = _measured(INT8, 500, 0.02), _measured(BF16, 200, 0.004)
    broken = _measured(Form("openvino", "int8"), 0, 1, "it was ended by SIGSEGV")
    finding = Finding(1000, (first, int8, bf16, broken))

    assert finding.best(0.01) == bf16
    assert finding.best(0.02) == int8
    assert finding.best(1) == int8
    assert finding.best(0) == first
    assert finding.proof(0.01) == Proof(
        "openvino;bf16 is the fastest of these whose first answers to 1,000 kept "
        "images differ from fp32's on at most 1.00%: onnx;fp32 100 images/s and 0.00%; "
        "onnx;int8 500 images/s and 2.00%; openvino;bf16 200 images/s and 0.40%; "
        "openvino;int8 failed, it was ended by SIGSEGV",
        0.004,
    )


def test_a_form_that_is_hardly_faster_does_not_replace_fp32() -> None:
    first = _measured(ONNX_FP32, 100, 0)

    def best(speed: float) -> Form:
        return Finding(9, (first, _measured(INT8, speed, 0))).best(0.01).form

    assert best(100 * LEAST_GAIN - 1) == ONNX_FP32
    assert best(100 * LEAST_GAIN + 1) == INT8


def test_every_form_is_asked_once_and_the_best_is_served(
    quantised_store: Store,
    kept: Path,
    asked: list[Form],
    settled: Callable[[], Predictor],
) -> None:
    config = ServingConfig(versions="v2", precision="auto", max_flips=1)
    pool = _pool(quantised_store, config)
    predictor = settled()

    (file,) = kept.glob("*/finding.json")
    finding = Finding.read(file)
    forms = [measured.form for measured in finding.forms]
    assert forms == asked
    assert {ONNX_FP32, INT8} <= set(forms)
    assert [m.failure for m in finding.forms] == [None] * len(forms)
    assert finding.forms[0].flips == 0
    best = finding.best(1)
    assert predictor.form == best.form
    assert predictor.proof == finding.proof(1)
    client = create_app(config, pool=pool).test_client()
    entry = client.get("/versions/v2").get_json()
    assert (entry["backend"], entry["precision"]) == (
        best.form.backend,
        best.form.precision,
    )
    assert entry["flips"] == best.flips
    assert entry["precision_reason"] == finding.proof(1).reason
    text = client.get("/metrics").text
    assert f'serving_model_flips{{version="2"}} {best.flips}' in text
    pool.close()

    again = _pool(quantised_store, config)
    assert settled().proof == finding.proof(1)
    assert asked == forms
    again.close()


def test_a_gate_that_none_passes_leaves_fp32(
    quantised_store: Store,
    monkeypatch: pytest.MonkeyPatch,
    settled: Callable[[], Predictor],
) -> None:
    monkeypatch.setattr(Finding, "best", lambda finding, _: finding.forms[0])
    pool = _pool(
        quantised_store, ServingConfig(versions="v2,v2.int8", precision="auto")
    )

    predictor = settled()

    assert predictor.form == ONNX_FP32
    assert predictor.proof is not None
    assert predictor.proof.flips == 0
    form = pool.get("2.int8")  # its own name says what it is
    assert (form.form, form.proof) == (INT8, None)
    pool.close()


def test_a_version_whose_run_kept_no_images_stays_fp32_and_says_so(
    quantised_store: Store,
    tmp_path: Path,
    asked: list[Form],
    settled: Callable[[], Predictor],
) -> None:
    store = quantised_store.copy(tmp_path / "store")
    for file in store.folder.glob(f"mlruns/*/*/artifacts/{KEPT_IMAGES}"):
        file.unlink()
    pool = _pool(store, ServingConfig(versions="v1", precision="auto"))

    predictor = settled()

    assert (predictor.form, asked) == (ONNX_FP32, [])
    assert predictor.proof is not None
    assert predictor.proof.flips is None
    assert "has kept no images to prove one on" in predictor.proof.reason
    pool.close()


def test_a_form_that_takes_all_memory_harms_nobody_and_is_not_tried_again(
    quantised_store: Store,
    tmp_path: Path,
    kept: Path,
    asked: list[Form],
    settled: Callable[[], Predictor],
) -> None:
    store = quantised_store.copy(tmp_path / "store")
    store.bundle("v2.int8").graph.write_bytes(of_megabytes(3200))
    config = ServingConfig(
        versions="v2", precision="auto", load_megabytes=400, max_flips=1
    )
    pool = _pool(store, config)

    predictor = settled()

    finding = Finding.read(next(kept.glob("*/finding.json")))
    failed = {m.form: m.failure for m in finding.forms if m.failure is not None}
    assert "more memory than the 400 MB" in (failed[INT8] or "")
    assert predictor.form not in failed
    count = len(asked)
    pool.close()
    again = _pool(store, config)
    settled()
    assert len(asked) == count
    again.close()


def test_without_a_folder_of_the_users_forms_are_measured_at_each_start(
    quantised_store: Store,
    asked: list[Form],
    monkeypatch: pytest.MonkeyPatch,
    settled: Callable[[], Predictor],
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", "/dev/null")
    monkeypatch.setattr(engines, "plugin_version", lambda: None)

    pool = _pool(quantised_store, ServingConfig(versions="v2", precision="auto"))
    predictor = settled()

    assert asked == [ONNX_FP32, INT8]
    assert predictor.proof is not None
    assert predictor.proof.flips is not None
    pool.close()


def test_readiness_waits_for_no_form(
    quantised_store: Store,
    monkeypatch: pytest.MonkeyPatch,
    settled: Callable[[], Predictor],
) -> None:
    may_end, has_begun = threading.Event(), threading.Event()

    def never(guard: LoadGuard, *args: Any, **named: Any) -> Any:
        has_begun.set()
        may_end.wait(WAIT_SECONDS)
        raise RuntimeError("it was waited for")

    monkeypatch.setattr(LoadGuard, "ask", never)
    config = ServingConfig(versions="v2", precision="auto")
    pool = _pool(quantised_store, config)
    client = create_app(config, pool=pool).test_client()

    assert has_begun.wait(WAIT_SECONDS)
    assert client.get("/readyz").status_code == 200
    entry = client.get("/versions/v2").get_json()
    assert (entry["precision"], entry["flips"]) == ("fp32", None)
    may_end.set()
    predictor = settled()
    assert predictor.proof is not None
    assert "fp32 itself failed" in predictor.proof.reason
    pool.close()


def test_no_request_is_lost_when_another_form_takes_over(
    quantised_store: Store,
) -> None:
    bundle = quantised_store.bundle("v2")
    images = np.random.default_rng(0).integers(0, 256, (8, 16, 16, 3), np.uint8)
    first = open_backend("onnx", bundle, device="cpu", threads=1)
    int8 = quantised_store.bundle("v2.int8")
    other = open_backend("onnx", int8, device="cpu", precision="int8", threads=1)
    warm_up(int8, other, largest=8)
    version = quantised_store.registry.resolve(quantised_store.model, "v2")
    predictor = Predictor(version, bundle, first, max_batch_size=8)
    is_over, half = threading.Event(), threading.Event()

    def ask(place: int) -> list[bool]:
        """Whether each answer is that of the second form."""
        image = images[place][None]
        found: list[bool] = []
        one, two = first.logits(image)[0], other.logits(image)[0]
        while not is_over.is_set() or len(found) < 20:
            answer = predictor.batcher.submit(image).result(WAIT_SECONDS)
            assert not answer.failures
            row = answer.logits[0]
            found.append(bool(abs(row - two).max() < abs(row - one).max()))
            if len(found) == 10:
                half.set()
        return found

    with ThreadPoolExecutor(8) as threads:
        asking = [threads.submit(ask, place) for place in range(8)]
        assert half.wait(WAIT_SECONDS)
        predictor.use(other, Proof("it is faster", 0.0))
        assert predictor.batcher.submit(images).result(WAIT_SECONDS).logits.shape
        is_over.set()
        answers = [future.result(WAIT_SECONDS) for future in asking]

    assert predictor.form == INT8
    for found in answers:
        assert found == sorted(found)
        assert found[-1]
    predictor.close()
