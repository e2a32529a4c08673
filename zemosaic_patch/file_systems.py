# SPDX-License-Identifier: GPL-3.0-or-later
"""Places elsewhere that URLs name, by fsspec: opened, waited for so long, and in words what is wrong with them."""

from __future__ import annotations

import errno
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, wait
from contextlib import contextmanager
from importlib.metadata import metadata
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, TypeVar

from zemosaic_patch.errors import FailureError, UsageError

if TYPE_CHECKING:
    from fsspec import AbstractFileSystem

ANSWER_S = 15.0  # that a server may take for its first answer, and between two bytes
LISTED_S = 120.0  # and to list a folder with all below it
LOOK_S = 0.1  # between looks at what has come
WEB = "http", "https"
EXTRAS = {"https": "http", "gs": "gcs", "az": "abfs", "s3a": "s3", "sftp": "ssh"}  # of fsspec, where named otherwise
OF_THIS_DISK = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
SEE = "see that its address is right, or fetch the frames yourself and name their folder"

Made = TypeVar("Made")


def kind_of(url: str) -> str:
    """Return the kind of a URL, such as 's3'; of a chained one, of its first part."""
    return url.partition("://")[0].partition("::")[0].lower()


def open_place(url: str) -> tuple[AbstractFileSystem, str]:
    """Return what reads a URL, and the path there.

    Raises
    ------
    UsageError
        Where fsspec knows no such kind of URL, or lacks what it needs for it: what to install.
    FailureError
        Where it does not answer.
    """
    import fsspec

    kind = kind_of(url)
    if kind not in fsspec.available_protocols():
        raise UsageError(
            f"{url}: no kind of URL is called {kind}: name one of s3, gs, https, sftp and the like, or copy the frames "
            "and name their folder"
        )
    try:
        return in_time(lambda: fsspec.url_to_fs(url, **_settings(kind)))
    except ImportError as missing:
        raise UsageError(f"{url}: {missing}: python -m pip install {_needed(kind, missing)}") from missing


def _settings(kind: str) -> dict[str, Any]:
    """Return what is set of a kind of places: aiohttp would break off whatever takes five minutes, many frames say."""
    if kind not in WEB or find_spec("aiohttp") is None:
        return {}
    from aiohttp import ClientTimeout

    return {"client_kwargs": {"timeout": ClientTimeout(total=None)}}


def _needed(kind: str, missing: ImportError) -> str:
    """Return what pip is to install for a kind of URL."""
    extra = EXTRAS.get(kind, kind)
    if extra in metadata("fsspec").get_all("Provides-Extra", ()):
        return f"'fsspec[{extra}]'"
    return next((name for one in (missing, missing.__cause__) if (name := getattr(one, "name", None))), f"'{kind}'")


def in_time(do: Callable[[], Made], seconds: float = ANSWER_S, come: Callable[[], object] = lambda: None) -> Made:
    """Return what is made elsewhere; TimeoutError where nothing has come of it for some time.

    Parameters
    ----------
    do : callable
        Waits for a server. It is left to itself where nothing comes: few libraries can be stopped.
    seconds : float
    come : callable, optional
        Returns what changes as long as something comes.
    """
    made: Future[Made] = Future()
    threading.Thread(target=_keep, args=(do, made), daemon=True).start()  # which the end of the program does not await
    seen, since = come(), time.monotonic()
    while not wait([made], LOOK_S).done:
        now = come()
        if now != seen:
            seen, since = now, time.monotonic()
        elif time.monotonic() - since > seconds:
            raise TimeoutError(f"nothing came for {seconds:.0f} s")
    return made.result()


def _keep(do: Callable[[], Made], made: Future[Made]) -> None:
    try:
        made.set_result(do())
    except BaseException as failure:  # noqa: BLE001  (raised where it is waited for)
        made.set_exception(failure)


@contextmanager
def told_of(url: str) -> Iterator[None]:
    """Say in a line what is wrong with a URL: UsageError where nothing is there, else FailureError."""
    try:
        yield
    except (UsageError, FailureError):
        raise
    except Exception as failure:  # noqa: BLE001  (each kind of file system has errors of its own)
        _raise_told(url, failure)


def _raise_told(url: str, failure: Exception) -> None:
    if getattr(failure, "errno", None) in OF_THIS_DISK:
        raise failure
    reason = _reason_of(failure)
    status = getattr(reason, "status", None)
    if status == 404 or isinstance(reason, FileNotFoundError):
        raise UsageError(f"{url}: there is no such file or folder; {SEE}") from failure
    if status is not None:
        why = f"the server refuses it ({status} {_first_line(getattr(reason, 'message', ''))})"
    elif _is_silence(reason):
        why = f"the server does not answer ({_first_line(reason)})"
    else:
        why = f"it cannot be fetched ({_first_line(reason)})"
    raise FailureError(f"{url}: {why}; {SEE}") from failure


def _reason_of(failure: BaseException) -> BaseException:
    """Return what is behind a failure: fsspec takes for missing whatever it gets no answer about."""
    while isinstance(failure, FileNotFoundError) and failure.__cause__ is not None:
        failure = failure.__cause__
    return failure


def _is_silence(reason: BaseException) -> bool:
    """Tell whether nobody answers; what has no number of the system's is of a library that opens connections."""
    from asyncio import TimeoutError as LateError  # Python's own from 3.11 on

    return isinstance(reason, (TimeoutError, LateError, ConnectionError)) or "Connect" in type(reason).__name__


def _first_line(reason: object) -> str:
    return (str(reason).strip() or type(reason).__name__).partition("\n")[0]
