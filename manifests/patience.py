"""Asking storage that may not answer: a request is tried again, later and later, and in the end given up with one clear line."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")

ATTEMPTS = 6  # of one request; seconds between them double from PAUSE, less a random part, so that workers do not come back together
PAUSE = 0.5
LONGEST = 40.0  # seconds of trying after which no other try begins: well under ``run.stall_seconds``, which would blame a worker
LATER = (FileNotFoundError, NotADirectoryError, IsADirectoryError)  # an answer, if not the one hoped for
# What AWS calls credentials that are no good: no file's fault, and no other try helps.
CREDENTIALS = frozenset(
    [
        "ExpiredToken",
        "InvalidAccessKeyId",
        "InvalidToken",
        "RequestTimeTooSkewed",
        "SignatureDoesNotMatch",
        "TokenRefreshRequired",
    ]
)
NO_CREDENTIALS = frozenset(
    ["NoCredentialsError", "PartialCredentialsError", "CredentialRetrievalError", "ProfileNotFound"]
)


class StorageFailed(Exception):
    """Storage that does not answer, or lets nobody in: says where, why, and what to do. No file is to blame for it."""


def patiently(where: str, request: Callable[[], T]) -> T:
    """``request()``, tried again where storage fails.

    Raises FileNotFoundError and PermissionError as they come, :class:`StorageFailed` where the storage itself is at fault.
    """
    begun = time.monotonic()
    for attempt in range(1, ATTEMPTS + 1):
        try:
            return request()
        except LATER:
            raise
        except Exception as error:  # each file system has exceptions of its own
            if _locked_out(error):
                raise StorageFailed(
                    f"{where}: the storage takes no such credentials ({_said(error)}); mend them"
                ) from error
            if isinstance(error, PermissionError | StorageFailed):
                raise
            if attempt == ATTEMPTS or time.monotonic() - begun > LONGEST:
                raise StorageFailed(
                    f"{where}: the storage does not answer ({_said(error)}; tried {attempt} times); nothing is lost: run again to resume"
                ) from error
        time.sleep(PAUSE * 2 ** (attempt - 1) * random.uniform(0.5, 1.0))
    raise AssertionError("not reached: the loop returns or raises")


def _locked_out(error: BaseException) -> bool:
    """Whether it is the credentials that are refused, and not one file."""
    told = [error, error.__cause__, error.__context__]
    answers = [getattr(e, "response", None) or {} for e in told]
    codes = {answer.get("Error", {}).get("Code") for answer in answers if isinstance(answer, dict)}
    return bool(codes & CREDENTIALS) or any(type(e).__name__ in NO_CREDENTIALS for e in told)


def _said(error: BaseException) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
