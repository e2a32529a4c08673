# SPDX-License-Identifier: GPL-3.0-or-later
"""Who may use the window, and which files it shows: the owner of this machine's browser alone, and what they chose.

A page of another site that is open in the same browser can send requests here, too. So each of them must name this
server as its host (else a name of another site may lead here: DNS rebinding), must not come from another page, and
must bring the token, which only the address that the program itself opens holds.
"""

from __future__ import annotations

import ipaddress
import secrets
from collections.abc import Iterable
from http.cookies import CookieError, SimpleCookie
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlencode

from zemosaic_patch.ui.texts import text

ADDRESS = "127.0.0.1"
NAMES = (ADDRESS, "localhost")
TOKEN = "token"
HEADERS = {
    "Content-Security-Policy": (
        "default-src 'self'; connect-src 'self' data:; worker-src 'self' blob:; "
        "script-src 'self' 'unsafe-inline' 'unsafe-eval'; style-src 'self' 'unsafe-inline'; "
        "img-src 'self' data: blob:; font-src 'self' data:; object-src 'none'; base-uri 'none'; form-action 'self'; "
        "frame-src 'self'; frame-ancestors 'self'"
    ),
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
}


class NotChosenError(Exception):
    """A file that the owner did not choose is asked for."""


class Chosen:
    """The folders that the owner chose; only what lies in one of them is served."""

    def __init__(self) -> None:
        self._folders: set[Path] = set()

    def add(self, folder: Path) -> None:
        """Let what lies in a folder be served from now on."""
        self._folders.add(folder.resolve())

    def served(self, path: Path | str, *, within: Path | None = None) -> Path:
        """Return a file's true place, where it may be served.

        Parameters
        ----------
        path : Path or str
            As it was asked for; links and '..' count as where they lead.
        within : Path, optional
            The folder that it is to lie in; by default one of those chosen will do. It must be chosen, too.

        Raises
        ------
        NotChosenError
            Where it does not lie there.
        """
        try:
            place = ((within or Path()) / path).resolve()
            home = None if within is None else within.resolve()
        except (OSError, ValueError, RuntimeError) as error:  # a NUL in a name, links in a circle
            raise NotChosenError(str(path)) from error
        chosen = any(place.is_relative_to(folder) for folder in self._folders)
        if not chosen or (home is not None and not place.is_relative_to(home)):
            raise NotChosenError(str(path))
        return place


chosen = Chosen()  # of this process, which serves one owner


class Guard:
    """An ASGI application that lets nobody but the owner through to another one.

    Parameters
    ----------
    app : callable
        The application behind it.
    token : str
        Whoever knows it is the owner; asked for once in the address, then kept in a cookie.
    port : int
        Of the server.
    """

    def __init__(self, app: Any, token: str, port: int) -> None:
        self.app, self.port, self._token = app, port, token
        self._hosts = {f"{name}:{port}" for name in NAMES}
        self._origins = {f"http://{host}" for host in self._hosts}
        self._cookie = f"zemosaic-patch-{port}"  # browsers keep cookies by host, whatever the port

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Answer a request, or pass it on."""
        if scope["type"] == "lifespan":
            await self.app(scope, receive, send)
            return
        if scope["type"] not in ("http", "websocket") or not self._comes_from_here(scope):
            await _refuse(scope, send, text("window.own_page"))
            return
        if not self._knows_the_token(scope):
            if scope["type"] == "http" and scope["method"] == "GET" and self._brings_the_token(scope):
                await self._welcome(scope, send)
            else:
                await _refuse(scope, send, text("window.address"))
            return
        await self.app(scope, receive, _with_headers(send))

    def _comes_from_here(self, scope: Any) -> bool:
        """Tell whether a request comes from this machine, to this server, and from no page but its own."""
        client = scope.get("client")
        if client is not None and not _is_loopback(client[0]):
            return False
        if [host.lower() for host in _values(scope, b"host")] not in [[host] for host in self._hosts]:
            return False
        origins = _values(scope, b"origin")
        if any(origin.lower() not in self._origins for origin in origins):
            return False
        if not origins and not (scope["type"] == "http" and scope["method"] in ("GET", "HEAD")):
            return False  # browsers say where such a request comes from
        return all(site in ("same-origin", "none") for site in _values(scope, b"sec-fetch-site"))

    def _knows_the_token(self, scope: Any) -> bool:
        return any(self._is_token(value) for value in _cookies(_values(scope, b"cookie"), self._cookie))

    def _brings_the_token(self, scope: Any) -> bool:
        return any(name == TOKEN and self._is_token(value) for name, value in _query(scope))

    def _is_token(self, value: str) -> bool:
        return secrets.compare_digest(value.encode(), self._token.encode())

    async def _welcome(self, scope: Any, send: Any) -> None:
        """Give the browser its cookie, and send it to the same address without the token, which history would keep."""
        rest = urlencode([(name, value) for name, value in _query(scope) if name != TOKEN])
        place = "/" + scope["path"].lstrip("/\\")  # two slashes would lead to another host
        headers = {
            "Set-Cookie": f"{self._cookie}={self._token}; Path=/; HttpOnly; SameSite=Strict",
            "Location": _ascii(place) + (f"?{rest}" if rest else ""),
            "Cache-Control": "no-store",
        }
        await _answer(send, 303, headers)


def new_token() -> str:
    """Return a token that nobody guesses."""
    return secrets.token_urlsafe(32)


def _ascii(place: str) -> str:
    from urllib.parse import quote

    return quote(place)


def _is_loopback(address: str) -> bool:
    try:
        return ipaddress.ip_address(address).is_loopback
    except ValueError:
        return False


def _values(scope: Any, name: bytes) -> list[str]:
    return [value.decode("latin-1") for key, value in scope["headers"] if key.lower() == name]


def _query(scope: Any) -> list[tuple[str, str]]:
    try:
        return parse_qsl(scope["query_string"].decode("ascii"), keep_blank_values=True)
    except ValueError:
        return []


def _cookies(headers: Iterable[str], name: str) -> list[str]:
    found = []
    for header in headers:
        try:
            cookies = SimpleCookie(header)
        except CookieError:
            continue
        found += [cookies[name].value] if name in cookies else []
    return found


def _with_headers(send: Any) -> Any:
    """Return what sends an answer with the headers that keep the browser to this server."""
    own = [(name.lower().encode(), value.encode()) for name, value in HEADERS.items()]

    async def sent(message: Any) -> None:
        if message["type"] == "http.response.start":
            message = {**message, "headers": [*message.get("headers", ()), *own]}
        await send(message)

    return sent


async def _refuse(scope: Any, send: Any, why: str) -> None:
    if scope["type"] == "websocket":
        await send({"type": "websocket.close", "code": 1008})
        return
    await _answer(send, 403, {"Content-Type": "text/plain; charset=utf-8"}, why)


async def _answer(send: Any, status: int, headers: dict[str, str], body: str = "") -> None:
    listed = [(name.lower().encode(), value.encode()) for name, value in {**HEADERS, **headers}.items()]
    await send({"type": "http.response.start", "status": status, "headers": listed})
    await send({"type": "http.response.body", "body": body.encode()})
