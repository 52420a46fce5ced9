"""Opens a bundle with a backend: one line for each."""

from collections.abc import Collection

from classifier.bundle.files import Bundle
from classifier.hardware import BackendKind, DeviceKind, PrecisionKind
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
    """Raises DeviceUnavailable if `device` is "cuda" and no GPU can be used.

    `allowed` are the functions of the user's that torch may run to build a network.

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
    from classifier.inference.backends.onnx_runtime import OnnxBackend

    return OnnxBackend(bundle, device=device, threads=threads)
