# SPDX-License-Identifier: GPL-3.0-or-later
"""What test_hostile_arrays runs in a process of its own: `bounds` beside forbidden memory, `threads` with seven."""

import itertools
import sys

import numba
import numpy as np

from nanstack.register.alignment import align_frames
from nanstack.register.warp import warp
from nanstack.stack import numba_kernels as kernels
from nanstack.stack.definition import METHODS, Rejection
from nanstack.stack.stacker import stack_frames
from nanstack.truth.simulation import simulate_group


def guarded(array):
    """Return a copy that ends where a page begins that must not be read: beyond it, the process dies."""
    import ctypes
    import mmap

    whole = -(-array.nbytes // mmap.PAGESIZE) * mmap.PAGESIZE
    memory = mmap.mmap(-1, whole + mmap.PAGESIZE)
    start = ctypes.addressof(ctypes.c_char.from_buffer(memory))
    protect = ctypes.CDLL(None, use_errno=True).mprotect
    protect.argtypes = ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int
    if protect(start + whole, mmap.PAGESIZE, 0):
        raise OSError(ctypes.get_errno(), "a page cannot be protected")
    copy = np.frombuffer(memory, array.dtype, array.size, whole - array.nbytes).reshape(array.shape)
    copy[...] = array
    return copy


def samples(n, pixels):
    rng = np.random.default_rng([n, pixels])
    found = rng.normal(1000, 10, (n, pixels)).astype(np.float32)
    found[rng.random(found.shape) < 0.1] *= 30
    found[rng.random(found.shape) < 0.2] = np.nan
    found[:, : pixels // 3] = np.nan
    return found


def bounds():
    """Run every kernel, on arrays that end at forbidden memory where the system can do that."""
    protect = guarded if sys.platform.startswith("linux") else np.copy
    for n, pixels in ((1, 1), (2, 127), (3, 128), (9, 129), (65, 33), (257, 40)):
        columns = protect(samples(n, pixels))
        weights = None, protect(np.full((n, 1), 0.5)), protect(np.ones((n, pixels)))
        for method, weight, combine in itertools.product(METHODS, weights, ("mean", "median")):
            results = [protect(np.zeros(pixels, kind)) for kind in (np.float32, np.uint16, np.uint16)]
            kernels.stack_columns(columns, Rejection(method), combine, weight, *results)
            assert np.array_equal(results[1], np.isfinite(columns).sum(axis=0))
    for shape, interpolation in itertools.product(((1, 1, 1), (5, 7, 3), (4, 131, 1)), ("bicubic", "lanczos3")):
        frame = protect(samples(shape[0], shape[1] * shape[2]).reshape(shape))
        for shift in (0.0, 0.3, -0.3, 1.0):
            warp(frame, [[1.0, 0.0, shift], [0.0, 1.0, -shift]], interpolation)


def threads():
    """Stack and align by 1, 2 and 7 threads."""
    frames = list(samples(11, 90 * 100 * 3).reshape(11, 90, 100, 3))
    weights = np.linspace(0.5, 1.5, 11)
    group = [frame.data for frame in simulate_group(4, (150, 200), seed=5, max_shift=12.0, n_stars=120)[0]]
    kernels.SAMPLES_PER_RUN = 2**14  # many runs, as of large frames
    seen = set()
    for count in (1, 2, 7):
        numba.set_num_threads(count)
        stacks = [stack_frames(frames, Rejection(method), weights=own) for method in METHODS for own in (None, weights)]
        aligned = [(a.ok, None if s is None else s.tobytes()) for a, s in align_frames(group, 1, threads=count)]
        assert sum(ok for ok, _ in aligned) > 1
        seen.add((*((s.image.tobytes(), s.coverage.tobytes(), s.rejected) for s in stacks), *aligned))
    assert len(seen) == 1


if __name__ == "__main__":
    {"bounds": bounds, "threads": threads}[sys.argv[1]]()
