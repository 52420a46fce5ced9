"""Images in base64, as people have it: in lines, for URLs, without padding."""

import base64
from urllib.parse import unquote

TO_STANDARD = str.maketrans("-_", "+/")


def from_base64(text: str) -> bytes:
    """An image's bytes; ValueError says why there are none.

    The plain and the URL-safe alphabet, with or without padding and white space, alone
    or as the `data:` URL that a browser makes of a file.
    """
    try:
        return base64.b64decode(text, validate=True)
    except ValueError:
        text = "".join(_of_url(text).split()).translate(TO_STANDARD).rstrip("=")
    return base64.b64decode(text + "=" * (-len(text) % 4), validate=True)


def _of_url(text: str) -> str:
    if text[:5].lower() != "data:":
        return text
    head, comma, content = text.partition(",")
    if not comma or not head.lower().endswith(";base64"):
        raise ValueError("a data: URL holds an image as data:image/…;base64,…")
    return unquote(content)
