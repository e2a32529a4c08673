# SPDX-License-Identifier: GPL-3.0-or-later
"""How long a photosite takes to be drizzled: python benchmarks/drizzle.py FOLDER of raw frames, of one night.

For each scale: what all of the stack takes for a photosite of the frames, and the drops alone, in nanoseconds of one
core; and raw megapixels a second on all cores. Scale 0 is the interpolated stack, which nothing is dropped onto.
"""

import sys
import tempfile
import time
from functools import partial
from pathlib import Path

from nanstack.canvas import union_canvas
from nanstack.io.finding import find_frame_files
from nanstack.session import open_session
from nanstack.settings import CanvasSettings
from nanstack.sky_stack import placed_on, stacked_on
from nanstack.stack import drizzle_kernels
from nanstack.stack.drizzle import Drizzle

SCALES = (0.0, 1.0, 2.0)
ROUNDS = 3  # the best one counts


def main() -> None:
    """Measure, and print a line for each scale."""
    files = find_frame_files(sys.argv[1:]).paths
    with tempfile.TemporaryDirectory() as folder:
        session = open_session(files, folder=Path(folder))
        photosites = sum(frame.shape[0] * frame.shape[1] for frame in session.frames)
        drops = _Timed(drizzle_kernels.drop)
        drizzle_kernels.drop = drops
        for scale in SCALES:
            settings = CanvasSettings(drizzle=Drizzle(scale) if scale else None)
            canvas = union_canvas([frame.view for frame in session.frames], finer=scale or 1.0)
            placed, sky = placed_on(session.frames, canvas, settings)
            work = partial(stacked_on, canvas, placed, sky, settings)
            cpu, wall, dropped = min(_measured(work, drops) for _ in range(ROUNDS))
            each, alone = (seconds / photosites * 1e9 for seconds in (cpu, dropped))
            print(f"scale {scale:g}: {each:.0f} ns a photosite, drops {alone:.0f}; {photosites / wall / 1e6:.1f} Mpx/s")


class _Timed:
    """A function, and how long all its calls took their threads."""

    def __init__(self, function):
        self.function, self.seconds = function, 0.0

    def __call__(self, *arguments):
        begin = time.thread_time()
        self.function(*arguments)
        self.seconds += time.thread_time() - begin


def _measured(work, drops: _Timed) -> tuple[float, float, float]:
    """Return what work takes: seconds of all cores, on the clock, and of the drops in it."""
    drops.seconds, cpu, wall = 0.0, time.process_time(), time.perf_counter()
    work()
    return time.process_time() - cpu, time.perf_counter() - wall, drops.seconds


if __name__ == "__main__":
    main()
