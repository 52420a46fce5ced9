"""An image file as text in base64, in every spelling that programs write."""

import base64
from urllib.parse import unquote

TO_STANDARD = str.maketrans("-_", "+/", "\r\n\t")
"""URL-safe to standard alphabet, without line breaks. A space stays and is refused: it
was a + that was decoded as part of a URL."""


def from_base64(text: str) -> bytes:
    """Raises ValueError with the reason.

    Takes the standard and the URL-safe alphabet, with or without padding and line
    breaks, alone or as the `data:` URL that a browser makes of a file.
    """
    try:
        return base64.b64decode(text, validate=True)
    except ValueError:
        text = _of_url(text.strip()).translate(TO_STANDARD).rstrip("=")
    return base64.b64decode(text + "=" * (-len(text) % 4), validate=True)


def _of_url(text: str) -> str:
    if text[:5].lower() != "data:":
        return text
    head, comma, content = text.partition(",")
    if not comma or not head.lower().endswith(";base64"):
        raise ValueError("a data: URL holds an image as data:image/…;base64,…")
    return unquote(content)
