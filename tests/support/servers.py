# SPDX-License-Identifier: GPL-3.0-or-later
"""Servers on this machine that frames, or a scheduler, are looked for at."""

import http.server
import socket
import threading
from contextlib import contextmanager
from functools import partial


@contextmanager
def accepting(says=b""):
    """A socket that takes connections, says something, and never answers; gives host and port."""
    taken = []
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def take():
            while True:
                try:
                    one, _ = listening.accept()
                    one.sendall(says)
                except OSError:  # the end of the test
                    return
                taken.append(one)

        taker = threading.Thread(target=take)
        taker.start()
        try:
            yield f"127.0.0.1:{listening.getsockname()[1]}"
        finally:
            listening.shutdown(socket.SHUT_RDWR)
            taker.join()
            for one in taken:
                one.close()


@contextmanager
def serving(folder, handler=http.server.SimpleHTTPRequestHandler):
    """A web server of a folder; gives host and port."""
    quiet = type("Quiet", (handler,), {"log_message": lambda *_: None})
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), partial(quiet, directory=str(folder))) as server:
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield f"127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()


def nobody():
    """Host and port where nothing listens."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        return f"127.0.0.1:{listening.getsockname()[1]}"
