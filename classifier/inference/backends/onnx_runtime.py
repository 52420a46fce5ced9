"""The ONNX Runtime backend, on CPU or CUDA."""

import functools
import logging
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from classifier.bundle.files import GRAPH, BrokenBundle, Bundle
from classifier.hardware import (
    BackendKind,
    DeviceKind,
    DeviceUnavailable,
    PrecisionKind,
    has_gpu,
    usable_cores,
)
from classifier.inference.backends.base import log_device, padded, powers_of_two

logger = logging.getLogger(__name__)

RUNTIME_VERSION: str = onnxruntime.__version__
CPU = "CPUExecutionProvider"
_AS_IT_IS = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL


class OnnxBackend:
    """Runs model.onnx. Any number of threads may run a session at once."""

    name: BackendKind = "onnx"

    def __init__(
        self,
        bundle: Bundle,
        *,
        device: DeviceKind,
        threads: int,
        batches_at_once: bool = True,
    ) -> None:
        """Raises BrokenBundle, or DeviceUnavailable if `cuda` is not there."""
        self.precision: PrecisionKind = bundle.network.precision
        providers = _providers(device)
        try:
            if len(providers) > 1 or not batches_at_once:
                self._session = _open(bundle.graph, _options(threads), providers)
                single = None
            else:
                self._session, single = _open_on_cpu(bundle.graph, threads)
        except Exception as error:  # ONNX Runtime's errors share no class of their own
            logger.exception("onnxruntime cannot load folder=%s", bundle.folder)
            raise BrokenBundle(
                f"{bundle.graph.name} cannot be loaded: {type(error).__name__}"
            ) from error
        check_interface(self._session, bundle)
        in_use = self._session.get_providers()[0]
        wanted = "CUDAExecutionProvider" if len(providers) > 1 else in_use
        if in_use != wanted:
            if device == "cuda":
                raise DeviceUnavailable(
                    f"{wanted} was asked for, but ONNX Runtime uses {in_use}; "
                    f"see its message above, or use --device cpu"
                )
            logger.warning("onnxruntime fell back provider=%s", in_use)
        self.device = "cuda" if in_use == "CUDAExecutionProvider" else "cpu"
        self.logits_on_one_core = (
            None if single is None else functools.partial(run_session, single)
        )
        log_device("onnx", self.device, _why(device, self.device))

    @classmethod
    def for_one_batch_at_a_time(cls, bundle: Bundle) -> "OnnxBackend":
        """One session on all usable cores, without a temporary file."""
        cores = usable_cores()
        return cls(bundle, device="cpu", threads=cores, batches_at_once=False)

    def logits(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        count = len(images)
        if self.device == "cuda":
            images = padded(images)
        return run_session(self._session, images)[:count]

    def batch_sizes(self, largest: int) -> list[int]:
        return powers_of_two(largest) if self.device == "cuda" else sorted({1, largest})


def check_interface(session: Any, bundle: Bundle) -> None:
    """Raises BrokenBundle if the graph's input or output does not fit its other files.

    ONNX Runtime notices it only at the first run, with an unclear message.
    """
    sides = (bundle.preprocessing.height, bundle.preprocessing.width)
    _check_values("takes", session.get_inputs(), "images", "uint8", (None, *sides, 3))
    logits = [value for value in session.get_outputs() if value.name == "logits"]
    shape = (None, len(bundle.labels))
    _check_values("gives", logits, "logits", "float", shape)


def _check_values(
    does: str, found: list[Any], name: str, kind: str, shape: tuple[int | None, ...]
) -> None:
    """None in `shape` means any size."""
    if len(found) == 1 and found[0].name == name and found[0].type == f"tensor({kind})":
        sizes = found[0].shape
        # A symbolic size, or a shape without sizes, can only be checked by a run.
        if not sizes or (
            len(sizes) == len(shape)
            and all(
                not isinstance(size, int) or size == wanted
                for size, wanted in zip(sizes, shape, strict=True)
            )
        ):
            return
    values = [f"{v.name!r:.80} {v.type} {v.shape}" for v in found] or ["none"]
    needed = ["N", *shape[1:]]
    raise BrokenBundle(
        f"{GRAPH} {does} {', '.join(values):.300} where {name!r} tensor({kind}) "
        f"{needed} is needed"
    )


def run_session(session: Any, images: NDArray[np.uint8]) -> NDArray[np.float32]:
    logits: NDArray[np.float32] = session.run(["logits"], {"images": images})[0]
    return logits


def _open_on_cpu(graph: Path, threads: int) -> tuple[Any, Any]:
    """Sessions on `threads` cores and on one core, with shared weights.

    A session keeps its weights twice, as read and reordered for its convolutions: 118
    MB for 45 MB of weights. So the graph is optimised once and written to a file, which
    both sessions map and which is deleted once they are open. Two such sessions take 75
    MB and give the same logits bit for bit.
    """
    try:
        with tempfile.TemporaryDirectory(prefix="flipside-") as folder:
            written = Path(folder, "optimized.onnx")
            _write_optimized(graph, written)
            options = [_options(n) for n in (threads, 1)]
            for of_session in options:
                of_session.graph_optimization_level = _AS_IT_IS
            several, single = (_open(written, o, [CPU]) for o in options)
            return several, single
    except OSError as error:  # no space or folder for the file
        logger.warning("onnxruntime on one session reason=%s", error)
        return _open(graph, _options(threads), [CPU]), None


def _write_optimized(graph: Path, to: Path) -> None:
    options = _options(threads=1)
    options.optimized_model_filepath = str(to)
    external = "session.optimized_model_external_initializers_"
    options.add_session_config_entry(f"{external}file_name", "weights.bin")
    options.add_session_config_entry(f"{external}min_size_in_bytes", "1024")
    options.log_severity_level = 3  # no warning that the file is for this machine only
    _open(graph, options, [CPU])


def _open(graph: Path, options: Any, providers: list[Any]) -> Any:
    session = onnxruntime.InferenceSession(str(graph), options, providers=providers)
    session.disable_fallback()
    return session


def _options(threads: int) -> Any:
    options = onnxruntime.SessionOptions()
    # The default is the machine's cores, not those that this process may use.
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    # Long enough for the next layer, where sleeping cost a lone image 0.4 of 2.2 ms;
    # threads that spin between requests take cores from decoding.
    options.add_session_config_entry("session.intra_op.spin_duration_us", "50")
    return options


def _why(asked: DeviceKind, used: str) -> str:
    if asked != "auto":
        return "asked for"
    if used == "cuda":
        return "a GPU was found"
    if not has_gpu():
        return "no GPU was found"
    if "CUDAExecutionProvider" not in onnxruntime.get_available_providers():
        return "this onnxruntime has no CUDA"
    return "onnxruntime cannot use the GPU, see its message"


def _providers(device: DeviceKind) -> list[Any]:
    """Execution providers, the preferred one first. Raises DeviceUnavailable."""
    built_in = "CUDAExecutionProvider" in onnxruntime.get_available_providers()
    if device != "cpu" and built_in and has_gpu():
        # Finds the CUDA libraries of the nvidia-* packages.
        onnxruntime.preload_dlls()
        # fp32, as validated: TF32, the default, has 10 bits of mantissa.
        return [("CUDAExecutionProvider", {"use_tf32": "0"}), CPU]
    if device == "cuda":
        missing = (
            "no usable GPU was found"
            if built_in
            else "this onnxruntime has no CUDA; install flipside[gpu] instead of [cpu]"
        )
        raise DeviceUnavailable(
            f"--device cuda was asked for, but {missing}; or use --device auto"
        )
    return [CPU]
