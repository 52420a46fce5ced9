"""What a program that calls `python -m compare` learns from its end."""

from classifier.dataset import BadDataset
from classifier.store import StoreUnavailable
from classifier.versions import UnknownModel, UnknownVersion
from compare.answers import ForeignFolder
from compare.redrawing import Unfinished
from compare.responses import KeyRefused, ServiceUnavailable, UnknownServed

WRONG_USAGE, NOT_NOW = 2, 3

ERROR_CODES: dict[type[Exception], int] = {
    BadDataset: WRONG_USAGE,
    ForeignFolder: WRONG_USAGE,
    KeyRefused: WRONG_USAGE,
    UnknownModel: WRONG_USAGE,
    UnknownVersion: WRONG_USAGE,
    UnknownServed: WRONG_USAGE,
    ServiceUnavailable: NOT_NOW,
    StoreUnavailable: NOT_NOW,
    Unfinished: NOT_NOW,
    OSError: NOT_NOW,  # the disk is full or not writable
}


def code_of(error: Exception) -> int | None:
    """None for what is neither a user's doing nor the world's."""
    codes = (code for kind, code in ERROR_CODES.items() if isinstance(error, kind))
    return next(codes, None)
