"""Opens a bundle with a backend: one line for each."""

from collections.abc import Collection

from classifier.bundle.files import Bundle
from classifier.hardware import BackendKind, DeviceKind, Form, PrecisionKind
from classifier.inference.backends.base import Backend


def open_backend(
    kind: BackendKind,
    bundle: Bundle,
    *,
    device: DeviceKind,
    precision: PrecisionKind = "fp32",
    threads: int,
    allowed: Collection[str] = (),
) -> Backend:
    """Raises DeviceUnavailable if `device` is "cuda" and no GPU can be used, or if this
    machine has not the backend or its precision.

    An int8 form is int8 whatever `precision` is. `allowed` are the functions of the
    user's that torch may run to build a network.

    The imports are here, so that an installation with ONNX Runtime needs no torch.
    """
    if kind == "torch":
        from classifier.inference.backends.pytorch import TorchBackend

        return TorchBackend(
            bundle,
            device=device,
            precision=precision,
            threads=threads,
            allowed=allowed,
        )
    if kind == "openvino":
        from classifier.inference.backends.openvino import OpenVinoBackend

        return OpenVinoBackend(bundle, precision=precision, threads=threads)
    from classifier.inference.backends.onnx_runtime import OnnxBackend

    return OnnxBackend(bundle, device=device, threads=threads)


def check_form(form: Form) -> None:
    """Raises DeviceUnavailable if this machine cannot run versions in this form.

    Loads no library, as a fork may follow.
    """
    if form.backend == "openvino":
        from classifier.inference.backends.openvino import check_openvino

        check_openvino(form.precision)


def runtime_versions() -> list[str | None]:
    """Versions of the libraries that run graphs, on which answers and times depend."""
    from classifier.inference.backends.onnx_runtime import RUNTIME_VERSION
    from classifier.inference.backends.openvino import plugin_version

    return [RUNTIME_VERSION, plugin_version()]
