# SPDX-License-Identifier: GPL-3.0-or-later
"""What runs inside a patched ZeMosaic: which calls are ours, and which are left to ZeMosaic's own functions.

The path is marked, never guessed. For a tile that is ours the worker's propagate decision is `NAN_SAFE`; the alignment
answers that with frames of the class `AlignedFrame`; the stackers take over for such frames and for no others. The
functions that are replaced are kept and called for everything else.
"""

from __future__ import annotations

import functools
import inspect
import logging
import math
import sys
from collections.abc import Callable, Sequence
from functools import partial
from types import ModuleType
from typing import Any

import numpy as np

LEAST_OPAQUE = 128  # of 255: ZeMosaic takes what is less opaque for no data
MARK = "zemosaic_patch"  # an attribute, not a class: a module may be there twice, on its own and in a package

log = logging.getLogger("ZeMosaicWorker")
_said: set[str] = set()


class _NanSafe(int):
    """A true value that reads as True in ZeMosaic's log and yet can be told from it."""

    zemosaic_patch = True

    def __repr__(self) -> str:
        return "True"

    __str__ = __repr__


NAN_SAFE = _NanSafe(1)


class AlignedFrame(np.ndarray):
    """A frame that our alignment made: NaN wherever it has no data."""

    zemosaic_patch = True


def decision(*algorithms: str) -> Callable[..., Any]:
    """Return what decides whether a tile is ours: `NAN_SAFE` for these algorithms (for all, if none is named).

    For the others, and where a package that our engine needs is missing (said once), it is False, and ZeMosaic's own
    decision counts. Where Numba is missing, that is said once, too: tiles are the same, and take longer.
    """

    def nan_safe(stack_reject_algo: str | None, progress_callback: Callable | None = None) -> Any:
        if algorithms and str(stack_reject_algo or "").strip().lower() not in algorithms:
            return False
        missing = missing_package()
        if missing is not None:
            text = f"{missing} is missing, so that tiles are made without the patch"
            _say_once(f"zemosaic-patch: {text}. {_installing(missing)}", "WARN", progress_callback)
            return False
        from nanstack.compilation import numba_fault

        if numba_fault():
            text = "tiles are right as they are, and made faster with Numba, a compiler"
            _say_once(f"zemosaic-patch: {text}. {_installing('numba')}", "INFO", progress_callback)
        return NAN_SAFE

    return nan_safe


@functools.cache
def missing_package() -> str | None:
    """Return the package without which our engine cannot run in this Python, or None."""
    try:
        import astropy.stats  # noqa: F401
    except ImportError:
        return "astropy"
    try:
        from nanstack.survey.stars import load_sep

        load_sep()
    except ImportError:
        return "sep"
    return None


def _installing(package: str) -> str:
    """Return what an owner does to get a package into the Python that runs this."""
    return f'To install it, close ZeMosaic and run in a terminal: "{sys.executable}" -m pip install --upgrade {package}'


def _say_once(text: str, level: str, progress_callback: Callable | None) -> None:
    if text in _said:
        return
    _said.add(text)
    log.log(logging.WARNING if level == "WARN" else logging.INFO, text)
    if progress_callback is not None:
        progress_callback(text, None, level)


def aligner(original: Callable, canvas: bool) -> Callable:
    """Return `align_images_in_group` with `NAN_SAFE` groups aligned by our engine.

    Parameters
    ----------
    original : callable
        ZeMosaic's, called for every other group.
    canvas : bool
        Whether this ZeMosaic expects aligned frames on a square canvas that holds them at any angle.
    """
    signature = inspect.signature(original)

    @functools.wraps(original)
    def align_images_in_group(*args: Any, **kwargs: Any) -> tuple[list, list[int]]:
        call = signature.bind(*args, **kwargs).arguments
        if not hasattr(call.get("propagate_mask"), MARK):
            return original(*args, **kwargs)
        engine = _cpu_engine()
        frames = call["image_data_list"]
        if canvas and sum(frame is not None for frame in frames) > 1:
            call["image_data_list"] = _on_canvas(frames, call.get("reference_image_index", 0))
        images, failed = engine.align_images_in_group(**{**call, "propagate_mask": True})
        return [None if image is None else image.view(AlignedFrame) for image in images], failed

    return align_images_in_group


def _on_canvas(frames: Sequence[np.ndarray | None], reference_index: int) -> list[Any]:
    """Return the frames on their canvas: the reference at once, each other when it is needed, to save memory."""
    return [
        None if frame is None else pad_to_canvas(frame) if index == reference_index else partial(pad_to_canvas, frame)
        for index, frame in enumerate(frames)
    ]


def pad_to_canvas(frame: np.ndarray) -> np.ndarray:
    """Return a frame in the middle of a square of NaN whose side is the frame's diagonal.

    Parameters
    ----------
    frame : ndarray, shape (H, W) or (H, W, C)

    Returns
    -------
    ndarray of float32, shape (S, S) or (S, S, C)
        S = ceil(hypot(H, W)); the frame starts at row (S - H) // 2 and column (S - W) // 2.
    """
    height, width = frame.shape[:2]
    side = math.ceil(math.hypot(height, width))
    canvas = np.full((side, side, *frame.shape[2:]), np.nan, dtype=np.float32)
    top, left = (side - height) // 2, (side - width) // 2
    canvas[top : top + height, left : left + width] = frame
    return canvas


def stacker(original: Callable, wsc_impl: Callable | None = None) -> Callable:
    """Return a CPU stacker with frames that our alignment made stacked by our engine's function of the same name.

    Parameters
    ----------
    original : callable
        ZeMosaic's, called for all other frames.
    wsc_impl : callable, optional
        ZeMosaic's own function that reads from the settings which winsorized clip is wanted.
    """
    return _stacker(original, _cpu_engine, wsc_impl)


def gpu_stacker(original: Callable, error: type[Exception], wsc_impl: Callable | None = None) -> Callable:
    """Return a GPU stacker, as `stacker`; where ours cannot, it raises `error`, ZeMosaic's sign to go to the CPU."""
    ours = _stacker(original, _gpu_engine, wsc_impl)

    @functools.wraps(original)
    def stack(*args: Any, **kwargs: Any) -> Any:
        try:
            return ours(*args, **kwargs)
        except _gpu_engine().GPUStackingError as failure:
            raise error(str(failure)) from failure

    return stack


def _stacker(original: Callable, engine: Callable[[], ModuleType], wsc_impl: Callable | None) -> Callable:
    """Return what stands for one of ZeMosaic's stackers: marked groups go to the engine, all others to the original."""
    signature = inspect.signature(original)
    frames_name = next(iter(signature.parameters))

    @functools.wraps(original)
    def stack(*args: Any, **kwargs: Any) -> Any:
        frames = args[0] if args else kwargs.get(frames_name)
        if not _is_ours(frames):
            return original(*args, **kwargs)
        call = signature.bind(*args, **kwargs)
        call.arguments[frames_name] = [None if frame is None else np.asarray(frame) for frame in frames]
        if wsc_impl is not None:
            zconfig = call.arguments.get("zconfig")
            call.arguments["zconfig"] = {**_settings(zconfig), "wsc_impl": wsc_impl(zconfig)}
        return getattr(engine(), original.__name__)(*call.args, **call.kwargs)

    return stack


def _is_ours(frames: Any) -> bool:
    return isinstance(frames, Sequence) and any(hasattr(frame, MARK) for frame in frames)


def _settings(zconfig: Any) -> dict:
    """Return ZeMosaic's settings, an object with attributes, a dict or None, as a dict."""
    return dict(zconfig) if isinstance(zconfig, dict) else dict(getattr(zconfig, "__dict__", {}))


def match_sky(frames: Sequence[np.ndarray], model: str, progress_callback: Callable | None = None) -> None:
    """Bring frames that our alignment made to one sky, in place, channel by channel.

    It is a mean of theirs; where gains are matched, too ('linear'), it is the first frame's.

    Parameters
    ----------
    frames : sequence of ndarray
        Left alone where our alignment did not make them.
    model : {'offset', 'linear', 'plane'}
        See `nanstack.levels.sky.match_sky`.
    progress_callback : callable, optional
        Hears of frames that have nothing in common with the first one, and keep their own level.
    """
    if not _is_ours(frames):
        return
    from nanstack.levels import sky

    frames = [np.asarray(frame) for frame in frames]
    matches = [sky.match_sky(frame, frames[0], model if number else "none") for number, frame in enumerate(frames)]
    alone = sum(match.cells == 0 for match in matches)
    for frame, match in zip(frames, matches if model == "linear" else sky.to_common_sky(matches), strict=True):
        match.apply(frame)
    if alone and progress_callback is not None:
        text = f"{alone} of {len(frames)} frames have no pixel in common with the reference: their sky is not matched"
        progress_callback(text, None, "WARN")


def coverage_alpha(alpha: np.ndarray | None, coverage: np.ndarray | None, propagate: Any) -> np.ndarray | None:
    """Return the ALPHA plane of a tile that is ours, the less opaque the fewer of its frames have data there.

    Where tiles overlap, Phase 5 averages them with ALPHA as weight. With the same weight everywhere, one frame at the
    edge of a tile counts as much as all frames of its neighbour: noisier than the neighbour alone.

    Parameters
    ----------
    alpha : ndarray of uint8, shape (H, W), or None
        As ZeMosaic would save it: 255 where there is data, 0 where there is none.
    coverage : ndarray, shape (H, W), or None
        Number of frames.
    propagate : object
        The worker's propagate decision: `NAN_SAFE` for a tile that is ours.

    Returns
    -------
    ndarray of uint8, shape (H, W), or None
        `alpha` where the tile is not ours, or its coverage is not known for each of its pixels.
    """
    if not hasattr(propagate, MARK) or alpha is None or np.shape(coverage) != alpha.shape:
        return alpha
    share = np.rint(255 * (coverage / np.max(coverage, initial=1))).astype(np.uint8)
    return np.minimum(alpha, np.maximum(share, LEAST_OPAQUE))


def percentiles(original: Callable) -> Callable:
    """Return `_percentiles_gpu` with what is not finite left out; ZeMosaic's own still computes them."""

    @functools.wraps(original)
    def _percentiles_gpu(arr2d: np.ndarray, p_low: float, p_high: float) -> tuple[float, float]:
        values = np.asarray(arr2d)
        valid = np.isfinite(values)
        if valid.all():
            return original(arr2d, p_low, p_high)
        return original(values[valid], p_low, p_high) if valid.any() else (math.nan, math.nan)

    return _percentiles_gpu


def _cpu_engine() -> ModuleType:
    import zemosaic_align_stack as engine

    return engine


def _gpu_engine() -> ModuleType:
    import zemosaic_align_stack_gpu as engine

    return engine
