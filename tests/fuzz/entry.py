# SPDX-License-Identifier: GPL-3.0-or-later
"""What is done with one input of the fuzzer, and with each file of its corpus in the tests."""

import contextlib
import gzip
import warnings
from pathlib import Path

import numpy as np

from nanstack.io.frames import FrameError, probe_frame, read_frame
from nanstack.memory import Scratch
from nanstack.stack.rows import OpenFiles, open_rows

SUFFIXES = (".npy", ".fits", ".fits.gz", ".fits.fz", ".FIT.GZ")
PACKED_HERE = 4  # a packed file is seldom whole after a change, so this kind is packed afterwards


def read_every_way(path):
    """Do with a file what the tile command and the stack do; the only failure is FrameError."""
    with contextlib.suppress(FrameError):
        probe_frame(path)
    with contextlib.suppress(FrameError):
        frame = read_frame(path)
        assert frame.data.dtype == np.float32
        assert frame.data.ndim == 2 or frame.data.shape[2:] == (3,)
        assert probe_frame(path).shape == frame.data.shape
    files = OpenFiles()
    try:
        with contextlib.suppress(FrameError), Scratch() as scratch:
            rows = open_rows(path, files, scratch)
            middle = rows.shape[0] // 2
            for top, bottom in ((0, middle), (middle, rows.shape[0])):
                rows.read(top, bottom, np.empty((bottom - top, *rows.shape[1:]), np.float32))
    finally:
        files.close()


def one_input(data, folder):
    """Try one input: the first byte is the kind of file, the rest is the file."""
    if not data:
        return
    path = Path(folder) / f"frame{SUFFIXES[data[0] % len(SUFFIXES)]}"
    path.write_bytes(gzip.compress(data[1:], 1) if data[0] % len(SUFFIXES) == PACKED_HERE else data[1:])
    with warnings.catch_warnings():
        warnings.simplefilter("error", RuntimeWarning)  # as in the tests
        read_every_way(path)
