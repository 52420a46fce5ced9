"""Images on which default and shadow version differ, in a folder with both answers."""

import json
import os
import re
import tempfile
import uuid
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from PIL import Image

from classifier.images.decoding import RgbImage
from classifier.images.decoding_cost import format_of
from classifier.storage import atomic_write, make_folder, write_json, writing

MOST = 1000
"""Images that are kept; the oldest goes first."""

_NAME = re.compile(r"(\d{8}T\d{12}Z-[0-9a-f]{8})\.(json|[a-z]{3,4})", re.ASCII)
"""Names in order of time. No other file of the folder is ever read or deleted."""


class NothingKept(LookupError):
    """The service keeps no images, or not this one."""


class KeptImages:
    """At most MOST pairs of an image file and a JSON file of the same name.

    Several processes may write. The JSON file comes last, so what has one is whole.
    """

    def __init__(self, folder: Path) -> None:
        """Raises BadPlace or NotWritable if no file can be written there."""
        self._folder = folder
        if not folder.exists():
            make_folder(folder, flag="--shadow-keep")
            folder.chmod(0o700)  # pictures of users
        another = "name another folder with --shadow-keep"
        with (
            writing(f"write to the folder {folder}", remedy=another),
            tempfile.TemporaryFile(dir=folder),
        ):
            pass

    def add(
        self, file: bytes | None, pixels: RgbImage, answers: dict[str, Any]
    ) -> None:
        """Keeps the file as it was sent; pixels that came without one as PNG."""
        time = datetime.now(UTC)
        stem = f"{time:%Y%m%dT%H%M%S%fZ}-{uuid.uuid4().hex[:8]}"
        kind = "png" if file is None else (format_of(file) or "bin").lower()
        with atomic_write(self._folder / f"{stem}.{kind}") as partial:
            if file is None:
                Image.fromarray(pixels).save(partial, "PNG")
            else:
                partial.write_bytes(file)
        head = {"image": f"{stem}.{kind}", "time": time.isoformat(timespec="seconds")}
        write_json(self._folder / f"{stem}.json", {**head, **answers})
        self._drop_oldest()

    def entries(self) -> list[dict[str, Any]]:
        """The JSON of each image, the oldest first."""
        found = []
        for name in self._names():
            if name.endswith(".json"):
                with suppress(FileNotFoundError):  # deleted meanwhile
                    found.append(json.loads((self._folder / name).read_text("utf-8")))
        return found

    def image(self, name: str) -> bytes:
        """Raises NothingKept."""
        if _NAME.fullmatch(name):
            with suppress(FileNotFoundError):
                return (self._folder / name).read_bytes()
        raise NothingKept(
            f"no image {name[:80]!r} is kept, or not any more; GET /shadow/images "
            f"lists those that are"
        )

    def _names(self) -> list[str]:
        return sorted(filter(_NAME.fullmatch, os.listdir(self._folder)))

    def _drop_oldest(self) -> None:
        names = self._names()
        stems = sorted({name.partition(".")[0] for name in names})
        gone = set(stems[:-MOST])
        for name in names:
            if name.partition(".")[0] in gone:
                (self._folder / name).unlink(missing_ok=True)
