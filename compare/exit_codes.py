"""What a program that calls `python -m compare` learns from its end."""

from classifier.datasets.dataset import BadDataset
from classifier.store.location import StoreUnavailable
from classifier.store.versions import UnknownModel, UnknownVersion
from compare.collect.answer_store import ForeignFolder
from compare.collect.client import KeyRefused, ServiceUnavailable, UnknownServed
from compare.report.draw import Unfinished

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
