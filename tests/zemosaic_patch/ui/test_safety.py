# SPDX-License-Identifier: GPL-3.0-or-later
"""Nobody but the owner's own page gets through, and nothing is served but what they chose."""

import os

import pytest

from zemosaic_patch.ui.safety import Chosen, Guard, NotChosenError, new_token

httpx = pytest.importorskip("httpx", reason="the window's packages are not installed")
testclient = pytest.importorskip("starlette.testclient", reason="the window's packages are not installed")

PORT = 8765
HOME = f"http://127.0.0.1:{PORT}"
TOKEN = "x7f-D0c" * 6


async def behind(scope, receive, send):
    """The application that is guarded: it answers all, and accepts all websockets."""
    if scope["type"] == "websocket":
        await receive()
        await send({"type": "websocket.accept"})
        await send({"type": "websocket.send", "text": "in"})
        return
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/plain")]})
    await send({"type": "http.response.body", "body": b"in"})


def test_no_two_tokens_are_alike_and_none_is_short():
    tokens = {new_token() for _ in range(100)}
    assert len(tokens) == 100
    assert min(map(len, tokens)) >= 43  # 32 bytes


def client(cookie=TOKEN, host="127.0.0.1", **settings):
    settings = {"base_url": HOME, "follow_redirects": False, "client": (host, 50000), **settings}
    made = testclient.TestClient(Guard(behind, TOKEN, PORT), **settings)
    if cookie:
        made.cookies.set(f"zemosaic-patch-{PORT}", cookie)
    return made


def test_the_owner_gets_in_by_the_address_and_stays_in_without_the_token_in_it():
    browser = client(cookie=None)
    assert browser.get("/").status_code == 403
    first = browser.get(f"/earlier?run=2&token={TOKEN}")
    assert (first.status_code, first.headers["location"]) == (303, "/earlier?run=2")
    cookie = first.headers["set-cookie"]
    assert "HttpOnly" in cookie
    assert "SameSite=Strict" in cookie
    assert first.headers["cache-control"] == "no-store"
    assert browser.get("/earlier?run=2").text == "in"


@pytest.mark.parametrize("guess", ["", "x", TOKEN[:-1], TOKEN + "a", TOKEN.swapcase(), "é", "%00"])
def test_a_guessed_token_opens_nothing(guess):
    assert client(cookie=None).get("/", params={"token": guess}).status_code == 403
    assert (
        client(cookie=None).get("/", headers={"cookie": f"zemosaic-patch-{PORT}={guess}".encode()}).status_code == 403
    )


def test_a_token_is_asked_for_in_the_address_of_a_page_alone():
    assert client(cookie=None).post(f"/?token={TOKEN}", headers={"origin": HOME}).status_code == 403


@pytest.mark.parametrize("path", ["//evil.example/", "/\\evil.example/", "///evil.example"])
def test_the_first_answer_leads_nowhere_else(path):
    raw = client(cookie=None)
    answer = raw.send(raw.build_request("GET", httpx.URL(HOME).copy_with(raw_path=f"{path}?token={TOKEN}".encode())))
    assert answer.status_code == 303
    assert httpx.URL(HOME).join(answer.headers["location"]).netloc == httpx.URL(HOME).netloc


ELSEWHERE = ["http://evil.example", "null", "http://127.0.0.1", f"https://127.0.0.1:{PORT}", "http://127.0.0.1:8766",
             f"http://localhost.evil.example:{PORT}", f"{HOME}.evil.example", ""]  # fmt: skip


@pytest.mark.parametrize("origin", ELSEWHERE)
@pytest.mark.parametrize("method", ["GET", "POST", "PUT", "DELETE", "OPTIONS"])
def test_a_page_of_another_site_is_refused(method, origin):
    assert client().request(method, "/", headers={"origin": origin}).status_code == 403


def test_what_changes_something_says_where_it_comes_from():
    assert client().post("/").status_code == 403
    assert client().post("/", headers={"origin": HOME}).text == "in"


@pytest.mark.parametrize("site", ["cross-site", "same-site"])
def test_a_link_or_a_picture_on_another_site_is_refused(site):
    assert client().get("/", headers={"sec-fetch-site": site}).status_code == 403
    assert client().get("/", headers={"sec-fetch-site": "same-origin"}).text == "in"


@pytest.mark.parametrize(
    "host",
    ["evil.example", f"evil.example:{PORT}", "127.0.0.1", "127.0.0.1:80", f"127.0.0.1.evil.example:{PORT}",
     f"127.0.0.2:{PORT}", f"[::1]:{PORT}", "", f"127.0.0.1:{PORT}@evil.example"],
)  # fmt: skip
def test_another_name_that_leads_here_is_refused(host):
    assert client().get("/", headers={"host": host}).status_code == 403


def test_two_hosts_are_refused():
    hosts = [("host", f"127.0.0.1:{PORT}"), ("host", "evil.example")]
    assert client().get("/", headers=hosts).status_code == 403


def test_another_machine_is_refused():
    assert client(host="192.168.1.7").get("/").status_code == 403
    assert client(host="::1").get("/").text == "in"


def websocket(browser, **headers):
    with browser.websocket_connect("/_nicegui_ws/socket.io", headers=headers) as line:
        return line.receive_text()


def test_a_websocket_of_the_own_page_is_accepted():
    assert websocket(client(), origin=HOME, host=f"127.0.0.1:{PORT}") == "in"


@pytest.mark.parametrize(
    "headers",
    [{"origin": "http://evil.example", "host": f"127.0.0.1:{PORT}"}, {"host": f"127.0.0.1:{PORT}"},
     {"origin": HOME, "host": "evil.example"}, {"origin": "null", "host": f"127.0.0.1:{PORT}"}],
)  # fmt: skip
def test_a_websocket_from_elsewhere_is_refused(headers):
    with pytest.raises(testclient.WebSocketDisconnect) as refused:
        websocket(client(), **headers)
    assert refused.value.code == 1008


def test_a_websocket_without_the_token_is_refused():
    with pytest.raises(testclient.WebSocketDisconnect):
        websocket(client(cookie="guess"), origin=HOME, host=f"127.0.0.1:{PORT}")


def test_answers_keep_the_browser_to_this_server():
    policy = client().get("/").headers["content-security-policy"]
    assert "default-src 'self'" in policy
    assert "http:" not in policy
    assert "https:" not in policy


# --- files ------------------------------------------------------------------------------------------------------------


@pytest.fixture
def home(tmp_path):
    (tmp_path / "chosen" / "inner").mkdir(parents=True)
    (tmp_path / "chosen" / "inner" / "frame.fit").write_text("mine")
    (tmp_path / "chosen-too").mkdir()
    (tmp_path / "secret.txt").write_text("secret")
    return tmp_path


def test_what_was_chosen_is_served(home):
    chosen = Chosen()
    chosen.add(home / "chosen")
    assert chosen.served("inner/frame.fit", within=home / "chosen").read_text() == "mine"
    assert chosen.served(home / "chosen" / "inner" / ".." / "inner" / "frame.fit").read_text() == "mine"


@pytest.mark.parametrize(
    "asked", ["../secret.txt", "inner/../../secret.txt", "/etc/passwd", "..", "../chosen-too", "a\0b", "//etc/passwd"]
)
def test_nothing_else_is(home, asked):
    chosen = Chosen()
    chosen.add(home / "chosen")
    with pytest.raises(NotChosenError):
        chosen.served(asked, within=home / "chosen")


def test_a_link_that_leads_out_is_not_followed(home):
    os.symlink(home / "secret.txt", home / "chosen" / "link.fit")
    chosen = Chosen()
    chosen.add(home / "chosen")
    with pytest.raises(NotChosenError):
        chosen.served("link.fit", within=home / "chosen")


def test_within_must_be_chosen_too(home):
    chosen = Chosen()
    chosen.add(home / "chosen")
    with pytest.raises(NotChosenError):
        chosen.served("secret.txt", within=home)
    with pytest.raises(NotChosenError):
        Chosen().served("frame.fit", within=home / "chosen")
