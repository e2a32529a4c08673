# SPDX-License-Identifier: GPL-3.0-or-later
"""What test_kept runs in a process of its own: stacks of one night into one folder, each killed at another moment."""

import contextlib
import os
import signal
import sys
import time
from pathlib import Path

import numpy as np

from nanstack.canvas import union_canvas
from nanstack.settings import CanvasSettings
from nanstack.stack import cells
from nanstack.stack.cells import Layer, cut, stack_cells
from nanstack.stack.kept import KeptCells
from tests.support.skycells import frames_in, placed


def layers_of(folder):
    """The night of a folder, on its canvas."""
    frames = placed(frames_in(Path(folder), 6, spread=100))
    canvas = union_canvas([one.frame.view for one in frames])
    return [Layer.of(one, canvas) for one in frames]


def kill_often(frames, kept, kills):
    """Stack a night so many times, end each time by SIGKILL at another moment, and tell how many cells there are."""
    cells.SIDE = 16
    layers = layers_of(frames)
    list(stack_cells(cut(layers)[:1], layers, CanvasSettings()))  # compiled, so that the time is that of stacking
    started = time.perf_counter()
    list(stack_cells(cut(layers), layers, CanvasSettings()))
    seconds = time.perf_counter() - started
    rng = np.random.default_rng(5)
    for _ in range(kills):
        more = made(kept) + rng.integers(0, 3)
        child = os.fork()
        if not child:
            list(stack_cells(cut(layers), layers, CanvasSettings(), kept=KeptCells(Path(kept))))
            os._exit(0)
        while made(kept) < more and os.waitpid(child, os.WNOHANG) == (0, 0):
            time.sleep(0.001)
        time.sleep(rng.uniform(0, 0.02 * seconds))  # in the midst of another one
        with contextlib.suppress(ProcessLookupError):  # it has ended by itself
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
        print(made(kept), flush=True)


def made(kept):
    """How many cells there are."""
    return len(list(Path(kept).glob("cell_*")))


if __name__ == "__main__":
    kill_often(sys.argv[1], sys.argv[2], int(sys.argv[3]))
