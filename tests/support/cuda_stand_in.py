# SPDX-License-Identifier: GPL-3.0-or-later
"""An array module with CuPy's names that computes on the host: real arrays, real kernels, and faults on request.

Its arrays are NumPy's, kept apart from the host's as CuPy's are: mixing the two raises TypeError. Every array that it
makes, temporaries of expressions included, counts as an allocation; the memory is limited, and what is alive is
known. Copies on a stream happen when the stream is waited for. A RawKernel is the CUDA source built as C++.
"""

import ctypes
import functools
import shutil
import subprocess
import sys
import tempfile
import weakref
from pathlib import Path
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest

import zemosaic_align_stack_gpu as zas_gpu
from nanstack.stack import device

COMPILERS = ("g++", "clang++", "c++")
PRELUDE = """
#include <math.h>
#include <stddef.h>
#include <utility>
#define __device__
#define __global__
#define __shared__
struct Index { unsigned x; };
static Index blockIdx, threadIdx, blockDim;
"""
LAUNCHER = """
float shared[12288];

template <class... Types, size_t... places>
static void call(void (*kernel)(Types...), void **arguments, std::index_sequence<places...>) {
    kernel(*static_cast<Types *>(arguments[places])...);
}

template <class... Types>
static void launch(void (*kernel)(Types...), unsigned blocks, unsigned threads, void **arguments) {
    blockDim.x = threads;
    for (blockIdx.x = 0; blockIdx.x < blocks; blockIdx.x++)
        for (threadIdx.x = 0; threadIdx.x < threads; threadIdx.x++)
            call(kernel, arguments, std::index_sequence_for<Types...>());
}

extern "C" void run(unsigned blocks, unsigned threads, void **arguments) { launch(KERNEL, blocks, threads, arguments); }
"""


class OutOfMemoryError(MemoryError):
    pass


class CompileException(Exception):
    pass


class CUDARuntimeError(RuntimeError):
    def __init__(self, text, status):
        super().__init__(text)
        self.status = status


def device_lost():
    return CUDARuntimeError("cudaErrorDeviceUnavailable: device lost", 46)


class DeviceArray(np.ndarray):
    """An array in the stand-in's memory; its subclasses know whose."""

    device = None

    def __array_finalize__(self, parent):
        if self.flags.owndata:
            self.device.adopt(self)

    def __array_ufunc__(self, ufunc, method, *inputs, out=(), **settings):
        arguments = [self.device.to_host(value) for value in inputs]
        if out:
            settings["out"] = tuple(self.device.to_host(value) for value in out)
        result = getattr(ufunc, method)(*arguments, **settings)
        return out[0] if out else self.device.from_host(result)

    def __array_function__(self, function, *_):
        raise TypeError(f"numpy.{function.__name__} was called with a device's array")

    # by __array_ufunc__ too, were it not that NumPy keeps the arguments of a reduction for good when that raises
    def sum(self, axis=None):
        return self.device.from_host(self.view(np.ndarray).sum(axis=axis))

    def min(self, axis=None):
        return self.device.from_host(self.view(np.ndarray).min(axis=axis))

    def max(self, axis=None):
        return self.device.from_host(self.view(np.ndarray).max(axis=axis))

    def all(self, axis=None):
        return self.device.from_host(self.view(np.ndarray).all(axis=axis))

    def any(self, axis=None):
        return self.device.from_host(self.view(np.ndarray).any(axis=axis))

    def set(self, source, stream=None):
        assert type(source) is np.ndarray
        assert (source.shape, source.dtype) == (self.shape, self.dtype)
        assert source.flags.c_contiguous
        assert self.flags.c_contiguous
        target = self.view(np.ndarray)
        if stream is None:
            target[...] = source
        else:
            stream.later.append(lambda: target.__setitem__(..., source))


class Stream:
    """Does what was asked for only when it is waited for, as late as a real one may."""

    def __init__(self, device):
        self.device, self.later = device, []

    def synchronize(self):
        self.device.check()
        while self.later:
            self.later.pop(0)()


class StandIn(ModuleType):
    """The module.

    Parameters
    ----------
    memory : int
        Bytes of its device.
    kernels : bool
        Whether it has RawKernel.
    """

    def __init__(self, memory=2**28, kernels=False):
        super().__init__("cupy")
        self.ndarray = type("ndarray", (DeviceArray,), {"__module__": "cupy", "device": self})
        self.memory, self.live, self.peak, self.allocations, self.freed = memory, 0, 0, 0, 0
        self.fail_at = self.error = None
        self.lasting = self.broken = self.corrupt = False
        if kernels:
            self.RawKernel = HostKernel
        self.cuda = SimpleNamespace(
            runtime=SimpleNamespace(
                getDeviceCount=self._count,
                getDevice=lambda: 0,
                getDeviceProperties=lambda number: {"name": b"stand-in"},
                memGetInfo=lambda: (self.memory - self.live, self.memory),
                deviceSynchronize=self.check,
            ),
            Stream=lambda non_blocking: Stream(self),
            alloc_pinned_memory=self._pinned,
            memory=SimpleNamespace(OutOfMemoryError=OutOfMemoryError),
            compiler=SimpleNamespace(CompileException=CompileException),
        )

    def __getattr__(self, name):
        value = getattr(np, name)
        if isinstance(value, type) or not callable(value):
            return value
        return functools.partial(self._call, value)

    # what CuPy has and NumPy has not

    def asnumpy(self, array):
        self.check()
        assert isinstance(array, DeviceArray)
        result = np.array(array.view(np.ndarray))
        if self.corrupt and result.dtype.kind == "f":
            result[...] = np.nan
        return result

    def get_default_memory_pool(self):
        return SimpleNamespace(free_all_blocks=self._free, free_bytes=lambda: 0)

    def get_default_pinned_memory_pool(self):
        return SimpleNamespace(free_all_blocks=lambda: None)

    # faults

    def fail(self, at, error, lasting=False):
        """Raise `error()` at an allocation; lasting: at every one from then on, and whatever else the device does."""
        self.fail_at, self.error, self.lasting = self.allocations + at, error, lasting

    def check(self):
        if self.broken:
            raise self.error()

    # memory

    def adopt(self, array):
        self._allocate(array.nbytes)
        self.live += array.nbytes
        self.peak = max(self.peak, self.live)
        weakref.finalize(array, self._release, array.nbytes)

    def _allocate(self, size):
        self.check()
        self.allocations += 1
        if self.allocations == self.fail_at:
            self.broken = self.lasting
            raise self.error()
        if self.live + size > self.memory:
            raise OutOfMemoryError(f"Out of memory allocating {size} bytes")

    def _release(self, size):
        self.live -= size

    def _pinned(self, size):
        self._allocate(0)
        return np.empty(size, np.uint8)

    def _free(self):
        self.freed += 1

    def _count(self):
        self.check()
        return 1

    # arrays

    def _call(self, function, *arguments, **settings):
        if function in (np.asarray, np.array):
            return self.from_host(np.array(self.to_host(arguments[0], True), *arguments[1:], **settings))
        arguments = [self.to_host(value) for value in arguments]
        return self.from_host(function(*arguments, **{name: self.to_host(value) for name, value in settings.items()}))

    def to_host(self, value, host_allowed=False):
        if isinstance(value, DeviceArray):
            return value.view(np.ndarray)
        if isinstance(value, np.ndarray) and value.ndim and not host_allowed:
            raise TypeError("a host's array was mixed with the device's")
        return value

    def from_host(self, result):
        if isinstance(result, tuple):
            return tuple(self.from_host(part) for part in result)
        if not isinstance(result, (np.ndarray, np.generic)):
            return result
        result = np.asarray(result)
        array = result.view(self.ndarray)
        if result.base is None:
            self.adopt(array)
        return array


def put_in_cupys_place(monkeypatch, stand_in):
    """Let all code find a stand-in where it looks for CuPy."""
    monkeypatch.setattr(zas_gpu, "cp", stand_in)  # first: it asks for the true one, which is then not asked for again
    monkeypatch.setitem(sys.modules, "cupy", stand_in)


def cupy_or_skip():
    """Return CuPy; skip the test where there is no device that computes."""
    reason = device.fault()
    if reason:
        pytest.skip(f"no GPU: {reason}")
    assert not isinstance(zas_gpu.cp, StandIn)
    return zas_gpu.cp


def compiler():
    """Return a C++ compiler of this machine, or None."""
    return next((path for path in map(shutil.which, COMPILERS) if path), None)


class HostKernel:
    """What cupy.RawKernel is to a device: a kernel of the CUDA source, run thread by thread."""

    def __init__(self, source, name, options=()):
        assert options == ("--fmad=false",)
        self.source, self.name = source, name

    def compile(self):
        self.run = build(self.source, self.name)

    def __call__(self, grid, block, arguments, shared_mem=0):
        assert len(grid) == len(block) == 1
        assert 0 <= shared_mem <= 48 * 1024
        values = [self._value(argument) for argument in arguments]
        pointers = [ctypes.cast(ctypes.pointer(value), ctypes.c_void_p) for value in values]
        self.run(grid[0], block[0], (ctypes.c_void_p * len(pointers))(*pointers))

    @staticmethod
    def _value(argument):
        if isinstance(argument, DeviceArray):
            assert argument.flags.c_contiguous
            return ctypes.c_void_p(argument.ctypes.data)
        return np.ctypeslib.as_ctypes_type(argument.dtype)(argument.item())


@functools.cache
def build(source, name):
    """Build the CUDA source as C++; return the function that launches a kernel."""
    if compiler() is None:
        raise CompileException("there is no C++ compiler")
    folder = Path(tempfile.mkdtemp(prefix="cuda-on-host-"))
    try:
        text = f"{PRELUDE}\n{source}\n#define KERNEL {name}\n{LAUNCHER}"
        (folder / "kernel.cpp").write_text(text, encoding="utf-8")
        library = folder / "kernel.so"
        command = [compiler(), "-std=c++14", "-O2", "-ffp-contract=off", "-fPIC", "-shared", "-Wall", "-Werror",
                   "-Wno-unused-function", "-o", str(library), str(folder / "kernel.cpp")]  # fmt: skip
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode:
            raise CompileException(done.stderr)
        run = ctypes.CDLL(str(library)).run
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    run.argtypes = [ctypes.c_uint, ctypes.c_uint, ctypes.POINTER(ctypes.c_void_p)]
    run.restype = None
    return run
