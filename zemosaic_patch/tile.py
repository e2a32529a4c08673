# SPDX-License-Identifier: GPL-3.0-or-later
"""One master tile: align a group, stack it, and say how good the result is.

What `zemosaic_worker.create_master_tile` and the command line share; neither caches nor frame files are known here.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

import zemosaic_align_stack as align_stack
from nanstack.arrays import has_data
from nanstack.io.layout import on_one_line
from nanstack.levels import photometry
from nanstack.levels.sky import SkyMatch
from nanstack.memory import Scratch
from nanstack.register.alignment import Alignment, FrameSource
from zemosaic_utils import cut, image_hdus, write_hdus

MIN_EDGE_VALID = 0.90  # an edge row or column with a smaller share of valid pixels is trimmed
MIN_SIDE_PX = 64  # unless less than this would be left
WINSORIZED = "winsorized_sigma_clip"


@dataclass(frozen=True)
class TileSettings:
    """How a tile is made; the names are those of `stack_aligned_images`."""

    reject: str = WINSORIZED
    kappa_low: float = 3.0
    kappa_high: float = 3.0
    winsor_limits: tuple[float, float] = (0.05, 0.05)
    rewinsor: bool = True
    wsc_impl: str | None = None
    combine: str = "mean"
    normalize: str = "none"
    match_sky: str = "offset"  # 'none', 'offset', 'linear' or 'plane'; acts where `normalize` is 'none'
    weight: str = "none"
    equalize_rgb: bool = False
    radial: bool = False
    radial_feather: float = 0.8
    radial_power: float = 2.0
    interpolation: str = "bicubic"
    gpu: str = "off"  # "on": a GPU that cannot be used is worth a warning; "auto": it is not


@dataclass(frozen=True)
class Tile:
    """A stacked group on the reference's pixels.

    Attributes
    ----------
    image : ndarray of float32, shape (H, W) or (H, W, 3)
        In ADU; NaN where no frame has data.
    coverage : ndarray of uint16, shape (H, W)
        Number of frames in each pixel.
    wcs : astropy.wcs.WCS or None
    report : dict
        What the tile says about itself, ready for JSON (no NaN: None).
    colour : dict
        What the colour equalisation did.
    """

    image: np.ndarray
    coverage: np.ndarray
    wcs: Any
    report: dict = field(repr=False)
    colour: dict = field(repr=False)


def align_tile(
    frames: Sequence[FrameSource],
    reference_index: int,
    settings: TileSettings,
    scratch: Scratch,
    *,
    wcs: Sequence[Any] | None = None,
    names: Sequence[str] | None = None,
    progress: Callable | None = None,
) -> tuple[list[np.ndarray | None], list[Alignment]]:
    """Align a group for a tile: NaN outside each frame's footprint, whatever the rejection."""
    return align_stack.align_group(
        frames,
        reference_index,
        propagate_mask=True,
        wcs=wcs,
        interpolation=settings.interpolation,
        progress_callback=progress,
        names=names,
        scratch=scratch,
    )


def stack_tile(
    aligned: Sequence[np.ndarray], settings: TileSettings, progress: Callable | None = None, parallel_plan: Any = None
) -> tuple[np.ndarray, dict]:
    """Stack aligned frames, the reference first, as the settings say; on the CPU, where the GPU cannot.

    Returns
    -------
    image : ndarray of float32
    metadata : dict
        See `zemosaic_align_stack.stack_winsorized_sigma_clip`; `device` is 'gpu' or 'cpu'.
    """
    stacked = None if settings.gpu == "off" else _stack_on_gpu(aligned, settings, progress, parallel_plan)
    return stacked or _stack_on_cpu(aligned, settings, progress)


def _stack_on_gpu(
    aligned: Sequence[np.ndarray], settings: TileSettings, progress: Callable | None, parallel_plan: Any
) -> tuple[np.ndarray, dict] | None:
    """Return what the GPU stacked; None where it could not, which has been reported with the reason."""
    import zemosaic_align_stack_gpu as gpu_stack  # here, as runs without a GPU need nothing of it

    def report(key: str, level: str, **details: Any) -> None:
        align_stack._log_stack_message(key, level, progress, helper=settings.reject, **details)

    usable = gpu_stack._gpu_is_usable()
    if usable:
        report("stack_using_gpu", "INFO")
    params = {
        "stack_reject_algo": settings.reject,
        "stack_kappa_low": settings.kappa_low,
        "stack_kappa_high": settings.kappa_high,
        "parsed_winsor_limits": settings.winsor_limits,
        "apply_rewinsor": settings.rewinsor,
        "stack_final_combine": settings.combine,
        "stack_norm_method": settings.normalize,
        "normalize_winsorized": True,  # whether it is to be done has been decided
        "match_sky": settings.match_sky,
        "stack_weight_method": settings.weight,
        "apply_radial_weight": settings.radial,
        "radial_feather_fraction": settings.radial_feather,
        "radial_shape_power": settings.radial_power,
    }
    try:
        return gpu_stack.gpu_stack_from_arrays(
            list(aligned), params, parallel_plan=parallel_plan, pcb_tile=progress, zconfig=_zconfig(settings)
        )
    except gpu_stack.GPUStackingError as failure:
        report(failure.key, "WARN" if usable or settings.gpu == "on" else "INFO_DETAIL", **failure.details)
        report("stack_using_cpu", "INFO")
        return None


def _stack_on_cpu(
    aligned: Sequence[np.ndarray], settings: TileSettings, progress: Callable | None
) -> tuple[np.ndarray, dict]:
    metadata: dict = {"device": "cpu"}
    image = align_stack.stack_aligned_images(
        list(aligned),
        normalize_method=settings.normalize,
        weighting_method=settings.weight,
        rejection_algorithm=settings.reject,
        final_combine_method=settings.combine,
        sigma_clip_low=settings.kappa_low,
        sigma_clip_high=settings.kappa_high,
        winsor_limits=settings.winsor_limits,
        apply_radial_weight=settings.radial,
        radial_feather_fraction=settings.radial_feather,
        radial_shape_power=settings.radial_power,
        progress_callback=progress,
        zconfig=_zconfig(settings),
        stack_metadata=metadata,
        apply_rewinsor=settings.rewinsor,
        match_sky=settings.match_sky,
    )
    return image, metadata


def _zconfig(settings: TileSettings) -> dict[str, Any]:
    return {"poststack_equalize_rgb": settings.equalize_rgb, "wsc_impl": settings.wsc_impl}


def reference_first(images: Sequence[np.ndarray | None], reference_index: int) -> list[np.ndarray]:
    """Return the aligned frames with the reference at their head and without those that failed."""
    order = [reference_index, *(index for index in range(len(images)) if index != reference_index)]
    return [images[index] for index in order if images[index] is not None]


def make_tile(
    frames: Sequence[FrameSource],
    reference_index: int,
    settings: TileSettings,
    *,
    wcs: Sequence[Any] | None = None,
    names: Sequence[str] | None = None,
    progress: Callable | None = None,
) -> Tile:
    """Make a tile of a group of frames.

    Parameters
    ----------
    frames : sequence of ndarray or callable, all (H, W) or all (H, W, 3)
        Samples in ADU, or what returns them; not modified. The reference must be an array.
    reference_index : int
        The frame whose pixels, and WCS, the tile gets.
    settings : TileSettings
    wcs : sequence of astropy.wcs.WCS or None, optional
    names : sequence of str, optional
        Names of the frames for the report.
    progress : callable, optional
        ``progress(key, progress, level, **details)``.

    Raises
    ------
    ValueError
        For a reference that is no image, or settings out of range.
    """
    names = names or [f"frame {index}" for index in range(len(frames))]
    with Scratch() as scratch:
        started = time.perf_counter()
        images, alignments = align_tile(
            frames, reference_index, settings, scratch, wcs=wcs, names=names, progress=progress
        )
        aligned = time.perf_counter()
        image, metadata = stack_tile(reference_first(images, reference_index), settings, progress)
        stacked = time.perf_counter()
    with ThreadPoolExecutor(1) as pool:
        sky = pool.submit(photometry.sky_level, np.asarray(frames[reference_index]))
        measured = measure(image, metadata["coverage_map"], frames[reference_index])
    report = tile_report(alignments, names, metadata, sky.result())
    warn_unmatched(report, progress)
    report["settings"] = asdict(settings)
    report.update(measured)
    report.update(seconds_align=round(aligned - started, 3), seconds_stack=round(stacked - aligned, 3))
    return Tile(
        image,
        metadata["coverage_map"],
        wcs[reference_index] if wcs else None,
        report,
        metadata["rgb_equalization"],
    )


def tile_report(
    alignments: Sequence[Alignment], names: Sequence[str], metadata: dict, sky: np.ndarray | None = None
) -> dict:
    """Return what is known of a tile's frames, and of the samples rejected.

    Parameters
    ----------
    alignments : sequence of Alignment
    names : sequence of str
    metadata : dict
        Of the stack.
    sky : ndarray, shape (C,) or (), optional
        The reference's sky level in ADU, from which the other frames' follow.
    """
    good = [alignment for alignment in alignments if alignment.ok]
    stacked = sorted(good, key=lambda alignment: alignment.method != "reference")  # as `reference_first`
    levels = {a.index: level for a, level in zip(stacked, metadata.get("levels") or [None] * len(good), strict=True)}
    offsets = [abs(offset) for level in levels.values() for offset in _sky_offsets(level)]
    weights = _frame_weights(alignments, metadata.get("frame_weights"))
    rms = [alignment.rms for alignment in good if alignment.method == "stars"]
    return {
        "frames_given": len(alignments),
        "frames_aligned": len(good),
        "frames_failed": {names[a.index]: a.reason for a in alignments if not a.ok},
        "reference": next((names[a.index] for a in alignments if a.method == "reference"), None),
        "rms_px_median": _number(np.median(rms)) if rms else None,
        "rms_px_max": _number(max(rms)) if rms else None,
        "rejection": metadata.get("rejection"),
        "stacked_on": metadata["device"],
        "rejected_percent": _number(100 * metadata.get("rejected_fraction", math.nan)),
        "sky_matched_by": metadata.get("levelled_by", "none"),
        "sky_offset_adu_max": _number(max(offsets, default=math.nan)),
        "sky_unmatched": [names[index] for index, level in levels.items() if level is not None and level.cells == 0],
        "frames": [
            _frame_report(a, names[a.index], levels.get(a.index), sky) | weights.get(a.index, {}) for a in alignments
        ],
    }


def warn_unmatched(report: dict, progress: Callable | None) -> None:
    """Say which frames keep their own sky, as they have no pixel in common with the reference."""
    for name in report["sky_unmatched"]:
        text = f"{name}: not matched in sky level, as it has too little in common with {report['reference']}"
        align_stack._log_stack_message(text, "WARN", progress)


def _sky_offsets(level: SkyMatch | None) -> list[float]:
    """Return what was added to a frame, after its gain, in the middle, a number a channel; where it was, at all."""
    return [] if level is None else np.atleast_1d(level.offset).tolist()


def _frame_weights(alignments: Sequence[Alignment], weights: Sequence[float] | None) -> dict[int, dict]:
    """Return each stacked frame's weight by its place in the group; the stack had the reference first."""
    stacked = sorted((a for a in alignments if a.ok), key=lambda a: a.method != "reference")
    if weights is None or len(weights) != len(stacked):
        return {}
    return {a.index: {"weight": _number(weight)} for a, weight in zip(stacked, weights, strict=True)}


def _frame_report(alignment: Alignment, name: str, level: SkyMatch | None, sky: np.ndarray | None) -> dict:
    """Return one frame's line of the report."""
    line = {
        "name": name,
        "method": alignment.method,
        "stars_found": alignment.found,
        "stars_matched": alignment.stars,
        "rms_px": _number(alignment.rms),
        "fwhm_px": _number(alignment.fwhm),
    }
    if alignment.ok:
        (a, _, x), (c, _, y) = alignment.transform
        line.update(
            shift_px=[_number(x), _number(y)],
            rotation_deg=_number(math.degrees(math.atan2(c, a))),
            scale=_number(math.hypot(a, c), 6),
        )
    if level is not None:
        line["sky_offset_adu"] = [_number(offset) for offset in _sky_offsets(level)]
        if sky is not None and level.cells != 0:
            line["sky_adu"] = [_number(own) for own in np.atleast_1d((sky - level.offset) / level.gain)]
        gain, *slopes = (np.atleast_1d(value) for value in (level.gain, level.slope_x, level.slope_y))
        if (gain != 1).any():
            line["sky_gain"] = [_number(value, 6) for value in gain]
        if np.any(slopes):
            line["sky_slope_adu_per_px"] = [[_number(value, 6) for value in slope] for slope in slopes]
    if alignment.reason:
        line["reason"] = alignment.reason
    return line


def measure(image: np.ndarray, coverage: np.ndarray, reference: np.ndarray) -> dict:
    """Return what can be measured on a tile: coverage, noise against its reference frame, band metric.

    Noise is compared where the coverage is at least 90 % of its maximum.
    """
    well_covered = coverage >= photometry.HIGH_COVERAGE * coverage.max()
    with ThreadPoolExecutor(1) as pool:  # medians let go of the interpreter
        levels = pool.map(photometry.noise_level, (image, np.asarray(reference)), (well_covered, well_covered))
        band = photometry.band_metric(image, coverage)
        noise, single = levels
    ratio = float(np.mean(noise / single)) if np.all(single > 0) else math.nan
    return {
        "shape": list(image.shape),
        "coverage_min": int(coverage.min()),
        "coverage_median": float(np.median(coverage)),
        "coverage_max": int(coverage.max()),
        "noise_adu": _number(np.mean(noise)),
        "noise_against_one_frame": _number(ratio),
        "band_metric_adu": _number(band),
    }


def _number(value: float, digits: int = 4) -> float | None:
    """Return a number for JSON: rounded, and None for what could not be measured."""
    return round(float(value), digits) if math.isfinite(value) else None


def report_lines(report: dict) -> list[str]:
    """Return a tile's report as lines for the screen."""

    def shown(name: str, unit: str = "") -> str:
        return "not measurable" if report.get(name) is None else f"{report[name]:g}{unit}"

    lines = [
        f"frames             {report['frames_aligned']} of {report['frames_given']} aligned on {report['reference']}",
        f"alignment rms      {shown('rms_px_median', ' px')} (worst {shown('rms_px_max', ' px')})",
        f"coverage           {report['coverage_min']} / {report['coverage_median']:g} / {report['coverage_max']}"
        " frames (min / median / max)",
        f"rejected           {shown('rejected_percent', ' %')} of the samples ({report['rejection']})",
        f"sky matched by     {report['sky_matched_by']}, offsets up to {shown('sky_offset_adu_max', ' ADU')}",
        f"noise              {shown('noise_adu', ' ADU')}, {shown('noise_against_one_frame')} of one frame's",
        f"band metric        {shown('band_metric_adu', ' ADU')}",
        f"time               {report['seconds_align']:.1f} s alignment, {report['seconds_stack']:.1f} s stack"
        f" on the {report['stacked_on'].upper()}",
    ]
    return lines + [f"failed             {name}: {reason}" for name, reason in report["frames_failed"].items()]


def trim_edges(tile: Tile, alpha: np.ndarray) -> tuple[Tile, tuple[int, int, int, int]]:
    """Cut off edge rows and columns with too few visible pixels; nothing, where too little would be left.

    Parameters
    ----------
    tile : Tile
    alpha : ndarray of uint8, shape (H, W)
        Its opacity; 0 is not visible.

    Returns
    -------
    tile : Tile
    box : (int, int, int, int)
        top, bottom, left, right of what was kept.
    """
    height, width = tile.coverage.shape
    top, bottom, left, right = _valid_box(alpha > 0)
    if bottom - top < MIN_SIDE_PX or right - left < MIN_SIDE_PX:
        return tile, (0, height, 0, width)
    return crop_tile(tile, top, bottom, left, right), (top, bottom, left, right)


def _valid_box(valid: np.ndarray) -> tuple[int, int, int, int]:
    """Return top, bottom, left, right after the worst edge was cut off, again and again, until all are good."""
    counts = np.pad(valid.cumsum(axis=0, dtype=np.int64).cumsum(axis=1), ((1, 0), (1, 0)))

    def share(top: int, bottom: int, left: int, right: int) -> float:
        inside = counts[bottom, right] - counts[top, right] - counts[bottom, left] + counts[top, left]
        return inside / ((bottom - top) * (right - left))

    top, bottom, left, right = 0, valid.shape[0], 0, valid.shape[1]
    while bottom > top and right > left:
        edges = {
            (top + 1, bottom, left, right): share(top, top + 1, left, right),
            (top, bottom - 1, left, right): share(bottom - 1, bottom, left, right),
            (top, bottom, left + 1, right): share(top, bottom, left, left + 1),
            (top, bottom, left, right - 1): share(top, bottom, right - 1, right),
        }
        without_worst = min(edges, key=edges.__getitem__)
        if edges[without_worst] >= MIN_EDGE_VALID:
            break
        top, bottom, left, right = without_worst
    return top, bottom, left, right


def crop_tile(tile: Tile, top: int, bottom: int, left: int, right: int) -> Tile:
    """Return a part of a tile, its WCS moved with it."""
    image, wcs = cut(tile.image, tile.wcs, top, bottom, left, right)
    return replace(tile, image=image, coverage=tile.coverage[top:bottom, left:right], wcs=wcs)


def write_tile(tile: Tile, path: Path, header: Any, alpha: np.ndarray | None = None) -> None:
    """Write a tile: the image, planes first, with its WCS; ALPHA (uint8); COVERAGE (uint16).

    Parameters
    ----------
    tile : Tile
    path : Path
        Appears complete or not at all; an existing file is replaced.
    header : astropy.io.fits.Header
        Further cards.
    alpha : ndarray of uint8, shape (H, W), optional
        By default 255 where the tile has data, 0 where not.
    """
    from astropy.io import fits

    if alpha is None:
        alpha = opacity(tile.image)
    cards = tile.wcs.to_header(relax=True) if tile.wcs is not None else fits.Header()
    cards.update(header)
    hdus = image_hdus(tile.image, cards, alpha)
    hdus.append(fits.ImageHDU(tile.coverage.copy(), name="COVERAGE"))
    hdus[-1].header["BUNIT"] = ("frame", "number of frames stacked in a pixel")
    write_hdus(hdus, path)


def opacity(image: np.ndarray) -> np.ndarray:
    """Return the alpha mask of an image: 255 where it has data, 0 where it has none."""
    return np.where(has_data(image), np.uint8(255), np.uint8(0))


def card_value(value: Any) -> Any:
    """Return a value as a FITS card can hold it: printable ASCII, and NaN and infinity by their names."""
    if isinstance(value, str):
        return on_one_line(value).encode("ascii", "replace").decode()
    return value if not isinstance(value, float) or math.isfinite(value) else str(value)


def report_cards(report: dict) -> dict[str, tuple[Any, str]]:
    """Return the cards in which a tile's file carries its report; what could not be measured has none."""
    names = {
        "NPA_GIVE": ("frames_given", "frames given"),
        "NPA_ALGN": ("frames_aligned", "frames aligned and stacked"),
        "NPA_RMS": ("rms_px_median", "[px] median alignment rms"),
        "NPA_RMSX": ("rms_px_max", "[px] worst alignment rms"),
        "NPA_COVN": ("coverage_min", "least coverage"),
        "NPA_COVM": ("coverage_median", "median coverage"),
        "NPA_COVX": ("coverage_max", "maximal coverage"),
        "NPA_REJP": ("rejected_percent", "[%] rejected of the samples with data"),
        "NPA_SKYM": ("sky_matched_by", "how the frames' sky was matched"),
        "NPA_SKYX": ("sky_offset_adu_max", "[adu] largest offset added to a frame"),
        "NPA_NOIS": ("noise_against_one_frame", "noise against one frame's"),
        "NPA_BAND": ("band_metric_adu", "[adu] colour step of the rim (band metric)"),
    }
    return {card: (report[name], text) for card, (name, text) in names.items() if report.get(name) is not None}
