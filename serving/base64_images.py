"""Images in base64, as people have it: in lines, for URLs, without padding."""

import base64
from urllib.parse import unquote

TO_STANDARD = str.maketrans("-_", "+/", "\r\n\t")
"""Without the ends of lines. A space stays, and is refused: it was a + that was read as
a URL's."""


def from_base64(text: str) -> bytes:
    """An image's bytes; ValueError says why there are none.

    The plain and the URL-safe alphabet, with or without padding and line breaks, alone
    or as the `data:` URL that a browser makes of a file.
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
