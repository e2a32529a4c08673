# SPDX-License-Identifier: GPL-3.0-or-later
"""The server as it runs: once for a user, for its owner alone; what it serves beside pages has no paths in it."""

import json
import os
import signal
import socket
import subprocess
import sys
from contextlib import suppress

import pytest

from tests.support.small_zemosaic import zemosaic
from zemosaic_patch.ui import faults, state
from zemosaic_patch.ui.safety import Guard
from zemosaic_patch.ui.state import Running

httpx = pytest.importorskip("httpx", reason="the window's packages are not installed")
pytest.importorskip("nicegui", reason="the window's packages are not installed")


def started(folder, *words):
    return subprocess.Popen(
        [sys.executable, "-m", "zemosaic_patch", "ui", "--no-browser", *words],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env={**os.environ, state.PLACE: str(folder)},
    )  # fmt: skip


@pytest.fixture(scope="module")
def window(tmp_path_factory):
    folder = tmp_path_factory.mktemp("window")
    process = started(folder)
    address = process.stdout.readline().split()[-1]
    yield address, folder
    process.send_signal(signal.SIGINT)
    _, told = process.communicate(timeout=60)
    assert told.splitlines() == ["zemosaic-patch: stopped by the user"]
    assert not (folder / "window.json").exists()
    log = folder / faults.LOG
    assert not log.exists(), log.read_text()  # whatever was asked for


def test_the_address_leads_in_and_nothing_else_does(window):
    address, _ = window
    home = address.partition("?")[0]
    assert home.startswith("http://127.0.0.1:")
    with httpx.Client() as stranger:
        assert stranger.get(home).status_code == 403
        assert stranger.get(f"{home}_nicegui_ws/socket.io/?EIO=4&transport=polling").status_code == 403
    with httpx.Client(follow_redirects=True) as owner:
        page = owner.get(address)
        assert page.status_code == 200
        assert "token" not in str(page.url)
        for path in ("patch", "earlier", "run/nothing"):
            assert owner.get(home + path).status_code == 200
        for away in ("https://", "http://", "//cdn"):
            assert f'src="{away}' not in page.text
        assert '<html lang="fr"' in owner.get(home, headers={"accept-language": "fr-FR,en;q=0.5"}).text
        assert '<html lang="en-US"' in owner.get(home, headers={"accept-language": "en-GB,fr;q=0.5"}).text
        assert owner.get(home, headers={"host": "evil.example"}).status_code == 403
        assert owner.get(home, headers={"origin": "http://evil.example"}).status_code == 403
        assert owner.get(f"{home}docs").status_code == 404
        assert owner.get(f"{home}openapi.json").status_code == 404


@pytest.mark.parametrize("path", ["apple-touch-icon.png", ".env", "wp-login.php", "a%0ab", "%ff", "x" * 3000])
def test_what_is_not_there_is_not_noted(window, path):
    """Nor by `window` in its log, nor on the terminal."""
    address, _ = window
    with httpx.Client() as owner:
        owner.get(address)
        assert owner.get(address.partition("?")[0] + path).status_code == 404


@pytest.mark.parametrize("query", ["", "EIO=3&transport=polling", "EIO=4&transport=x", "EIO=4&transport=polling&sid=x"])
def test_what_an_old_tab_asks_of_a_new_window_is_not_noted(window, query):
    address, _ = window
    with httpx.Client() as owner:
        owner.get(address)
        asked = owner.get(f"{address.partition('?')[0]}_nicegui_ws/socket.io/?{query}")
    assert asked.status_code == 400


@pytest.mark.parametrize("sent", [b"\x16\x03\x01\x02\0\x01\r\n\r\n", b"FOO\r\n\r\n", b"GET / HTTP/9.9\r\n\r\n"])
def test_what_is_no_request_is_not_noted(window, sent):
    address, _ = window
    with socket.create_connection(("127.0.0.1", httpx.URL(address).port), timeout=30) as probe:
        probe.sendall(sent)
        assert probe.recv(99).startswith(b"HTTP/1.1 400")


PATHS = ["..", "%2e%2e", "..%2f..%2fetc%2fpasswd", "%2fetc%2fpasswd", "....//", "%00", "<script>", "a" * 5000]


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize(
    "place",
    ["frame/{}/0/small", "frame/x/{}/small", "frame/x/0/{}", "filling/{}", "preview/{}", "report/{}",
     "mosaic/{}/coverage.png", "mosaic/x/save/{}", "_nicegui/3.0/static/{}", "{}"],
)  # fmt: skip
def test_no_parameter_leads_to_a_file(window, place, path):
    address, _ = window
    home = address.partition("?")[0]
    with httpx.Client() as owner:
        owner.get(address)
        asked = httpx.URL(home).copy_with(raw_path=f"/{place.format(path)}".encode())
        answer = owner.get(asked, follow_redirects=True)
    assert answer.status_code in (400, 404, 405, 422) or answer.url.path in ("/", "//")
    assert "root:" not in answer.text
    assert "<script>alert" not in answer.text


def test_a_second_start_finds_the_first(window):
    address, folder = window
    second = started(folder)
    told, wrong = second.communicate(timeout=60)
    assert (second.returncode, wrong) == (0, "")
    assert told.split()[-1] == address
    if os.name == "posix":
        assert not os.stat(folder / "window.json").st_mode & 0o077


def test_a_second_start_at_another_port_says_where_the_first_is(window):
    address, folder = window
    port = int(httpx.URL(address).port)
    for asked, said in ((port, []), (port + 1, [f"at port {port}", f"at port {port + 1}"])):
        second = started(folder, "--port", str(asked))
        told, wrong = second.communicate(timeout=60)
        assert (second.returncode, told.split()[-1]) == (0, address)
        assert len(wrong.splitlines()) == bool(said)
        assert all(part in wrong for part in said)


def test_a_port_that_is_taken_is_named(window, tmp_path):
    port = window[0].partition("?")[0].rstrip("/").rpartition(":")[2]
    other = started(tmp_path, "--port", port)
    _, told = other.communicate(timeout=60)
    assert other.returncode == 1
    assert f"port {port}" in told
    assert len(told.splitlines()) == 1


TRIED = """
import os, signal, sys, threading, time
from pathlib import Path
from zemosaic_patch.ui import desk, patching, server

def later(address):
    patching.bench.folder = sys.argv[1]
    patching.bench.begin_trial("")
    desk.desk.choose([sys.argv[1]])
    print(patching.bench.trial._process.pid, desk.desk.looking._process.pid, flush=True)
    threading.Timer(2, os.kill, (os.getpid(), signal.SIGINT)).start()

try:
    server.run(0, False, later, print)
except KeyboardInterrupt:
    pass
"""


def test_what_works_for_the_window_alone_ends_with_it(tmp_path):
    import psutil

    zemosaic(tmp_path / "ZeMosaic")
    own = {state.PLACE: str(tmp_path / "window"), "TMPDIR": str(tmp_path)}
    command = [sys.executable, "-c", TRIED, tmp_path / "ZeMosaic"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, env={**os.environ, **own})
    numbers = [int(word) for word in done.stdout.split()]
    assert len(numbers) == 2, done.stderr
    for number in numbers:
        with suppress(psutil.NoSuchProcess):
            psutil.Process(number).wait(30)  # it may be a moment behind
    assert not list(tmp_path.glob("zemosaic-patch-*")), "its scratch is gone, too"


def test_without_its_packages_the_command_says_what_to_install(run, monkeypatch):
    from zemosaic_patch.commands import ui

    monkeypatch.setattr(ui, "NEEDS", ("no_such_package",))
    code, _, err = run("ui")
    assert code == 1
    assert err == ['zemosaic-patch: the window needs packages that are not installed: pip install "zemosaic-patch[ui]"']


def test_nothing_of_it_is_loaded_by_other_commands():
    told = (
        "import sys; from zemosaic_patch import cli; cli.main(['info']); "
        "print([name for name in sys.modules if name.startswith('nicegui')])"
    )
    done = subprocess.run([sys.executable, "-c", told], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"


def test_what_is_kept_of_a_window_may_be_damaged(tmp_path, monkeypatch):
    monkeypatch.setenv(state.PLACE, str(tmp_path))
    assert Running.kept() is None
    for content in ("", "[]", json.dumps({"port": "x", "token": 1}), "\xff"):
        (tmp_path / "window.json").write_text(content, encoding="latin-1")
        assert Running.kept() is None
    Running(8000, "t").keep()
    assert Running.kept() == Running(8000, "t")
    assert Guard(None, "t", 8000).port == 8000
