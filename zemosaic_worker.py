# SPDX-License-Identifier: GPL-3.0-or-later
"""ZeMosaic's worker interface: Phase 3, one master tile from a group of cached frames.

`create_master_tile` has ZeMosaic's name, parameters, cards and progress keys; the tile itself is made by `nanstack`.
A frame's pixels without data are NaN from the alignment to the file; nothing fills them.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np

from nanstack.crop import crop_tile, trim_edges
from nanstack.io.cards import card_value
from nanstack.io.frames import FrameError, pointing, read_with_alpha
from nanstack.io.images import opacity, write_tile
from nanstack.io.layout import read_layout, read_samples
from nanstack.memory import Scratch
from nanstack.register.alignment import Alignment, FrameSource, align_frames
from nanstack.register.reference import most_central
from nanstack.settings import TileSettings
from nanstack.tile import Tile, describe, stacking_order, warn_unmatched
from zemosaic_patch import compat, quality

log = logging.getLogger(__name__)

EMPTY_MASTER_TILE_EPS_SIGNAL = 1e-8  # a tile without a greater absolute value holds no signal
EXTREME_GROUP_THRESHOLD = 1000
WINDOWS_PAGING_FILE_TOO_SMALL = "1455"
MISSING_RAW_NAME = "unknown"
CARDS_FROM_REFERENCE = (
    "OBJECT", "DATE-AVG", "FILTER", "INSTRUME", "FOCALLEN", "XPIXSZ", "YPIXSZ", "GAIN", "OFFSET"
)  # fmt: skip


class _Reporter:
    """Passes progress on as ``progress_callback(key, progress, level, **details)``, with the tile's number."""

    def __init__(
        self,
        progress_callback: Callable | None,
        tile_id: int,
        debug: bool,
        *,
        abort_event: Any = None,
        heartbeat: Callable | None = None,
    ) -> None:
        self.callback, self.tile_id, self.debug = progress_callback, tile_id, debug
        self.abort_event, self.heartbeat = abort_event, heartbeat

    def __call__(self, key: str, progress: float | None = None, level: str = "INFO_DETAIL", **details: Any) -> None:
        if self.callback is not None:
            self.callback(key, progress, level, **{"tile_id": self.tile_id, **details})
        else:
            log.log(compat.LOG_LEVELS.get(level, logging.DEBUG), "tile %s: %s %s", self.tile_id, key, details)

    def debugged(self, text: str) -> None:
        """Report a line that only the tiles named in `dbg_tile_ids` get."""
        if self.debug:
            self(text, None, "DEBUG_DETAIL")

    def step_done(self) -> None:
        """Show ZeMosaic that the tile gets on; it is abandoned where the run was stopped meanwhile."""
        if self.abort_event is not None and self.abort_event.is_set():
            self("tile abandoned: the run was stopped", None, "WARN")
            raise _NoTileError
        if self.heartbeat is not None:
            self.heartbeat()


class _NoTileError(Exception):
    """There will be no tile; the reason has been reported."""


@dataclass(frozen=True)
class _Job:
    """How a master tile is asked for; an option of `zemosaic_patch.quality` that is off is None.

    Attributes
    ----------
    folder : str
        Where its file goes.
    words : StackWords
        How it is stacked, as ZeMosaic says it.
    zconfig, parallel_plan
        ZeMosaic's settings, and its plan of the work.
    equalize : bool
        Whether its colours are brought to one median.
    fewest : int
        A group of fewer frames costs a WARN.
    crop, altaz, gate : records of `zemosaic_patch.quality`, or None
    nanize : bool
        Whether what the alt-az clean-up finds becomes NaN.
    move_rejects : bool
        Whether a tile that the quality gate rejects is moved aside.
    center_out : bool
        Whether levels were to be shifted tile by tile, which is never done.
    """

    folder: str
    words: compat.StackWords
    zconfig: Any
    parallel_plan: Any
    equalize: bool
    fewest: int
    crop: quality.CropLimits | None
    altaz: quality.AltazLimits | None
    nanize: bool
    gate: quality.GateLimits | None
    move_rejects: bool
    center_out: bool


@dataclass
class _Group:
    """The frames of a group that can be read; the reference is in memory."""

    infos: list[dict]
    frames: list[FrameSource]
    reference_index: int

    @property
    def reference(self) -> dict:
        return self.infos[self.reference_index]


@dataclass
class _Aligned:
    """What the alignment made of a group: the images that succeeded, the reference first, and how each frame fared."""

    images: list[np.ndarray]
    alignments: list[Alignment]


@dataclass(frozen=True)
class _Finished:
    """A tile as it is written.

    Attributes
    ----------
    tile : Tile
    alpha : ndarray of uint8, shape (H, W)
        Its opacity.
    crop_box : (int, int, int, int) or None
        What the quality crop kept, y0, x0, y1, x1; None where that is all.
    verdict : quality.Verdict or None
        What the quality gate says of it.
    """

    tile: Tile
    alpha: np.ndarray
    crop_box: quality.Box | None
    verdict: quality.Verdict | None

    @property
    def rejected(self) -> bool:
        """Whether the quality gate rejects it."""
        return self.verdict is not None and not self.verdict.accepted


# ------------------------------------------------------------------------------------------------------- loading


def _safe_load_cache(path: str, *, pcb: Callable | None = None, tile_id: int | None = None) -> np.ndarray:
    """Memory-map a cached frame; read it into memory where Windows has no page file for the map.

    Parameters
    ----------
    path : str
        A .npy file; one that holds pickles is refused.
    pcb : callable, optional
        ``pcb(key, prog=None, lvl=None, **details)``.
    tile_id : int, optional

    Raises
    ------
    OSError, ValueError
        For a file that cannot be read.
    """
    try:
        return np.load(path, allow_pickle=False, mmap_mode="r")
    except OSError as failure:
        if WINDOWS_PAGING_FILE_TOO_SMALL not in str(failure):
            raise
        if pcb is not None:
            details = {"filename": Path(path).name, "error": str(failure), "tile_id": tile_id}
            pcb("stack_mem_fallback_memmap_to_ram", prog=None, lvl="WARN", **details)
        return np.load(path, allow_pickle=False)


def _load_group(infos: Sequence[dict], report: _Reporter) -> _Group:
    """Look at the cached frames and load the reference; say which cannot be used."""
    loaded, frames = [], []
    for info in infos:
        frame = _find_frame(info, report)
        if frame is not None:
            loaded.append(info)
            frames.append(frame)
    while frames:
        index = _pick_central_reference_index(loaded, False) or 0
        try:
            frames[index] = frames[index]()
        except FrameError as unusable:
            _report_unusable(unusable, report)
            del loaded[index], frames[index]
        else:
            return _Group(loaded, frames, index)
    report("mastertile_error_no_valid_images_from_cache", None, "ERROR")
    raise _NoTileError


def _find_frame(info: dict, report: _Reporter) -> Callable[[], np.ndarray] | None:
    """Return what reads a cached frame; it is read, not mapped, as a map keeps a file open, and groups are large."""
    path = info.get("path_preprocessed_cache")
    name = Path(info.get("path_raw") or path or MISSING_RAW_NAME).name
    if not path or not Path(path).is_file():
        report("mastertile_warn_cache_file_missing", None, "WARN", filename=name, cache_path=path)
        return None
    try:
        layout = read_layout(Path(path))
    except FrameError as unusable:
        _report_unusable(unusable, report)
        return None
    if layout.dtype != np.float32 or len(layout.stored) != 3 or layout.stored[2] != 3:
        details = {"filename": Path(path).name, "shape": layout.stored, "dtype": str(layout.dtype)}
        report("mastertile_warn_invalid_cached_data", None, "WARN", **details)
        return None
    return lambda: read_samples(layout)


def _report_unusable(unusable: FrameError, report: _Reporter) -> None:
    details = {"filename": unusable.path.name, "error": unusable.reason}
    report("mastertile_error_loading_cache", None, "ERROR", **details)


def _pick_central_reference_index(infos: Sequence[dict], require_cache_exists: bool) -> int | None:
    """Return the frame whose pointing is nearest the group's centre.

    Parameters
    ----------
    infos : sequence of dict
        `wcs` is a frame's solution.
    require_cache_exists : bool
        Leave out frames whose `path_preprocessed_cache` is no file.

    Returns
    -------
    int or None
        None where no frame has a usable pointing.
    """
    pointings = [
        None
        if require_cache_exists and not Path(info.get("path_preprocessed_cache") or "").is_file()
        else pointing(info.get("wcs"))
        for info in infos
    ]
    return most_central(pointings)


def _nanize_by_coverage(
    final_hwc: np.ndarray, coverage_hw: np.ndarray, *, alpha_u8: np.ndarray | None = None
) -> np.ndarray:
    """Return a float32 copy that is NaN where nothing covers it.

    Parameters
    ----------
    final_hwc : ndarray, shape (H, W) or (H, W, C)
    coverage_hw : ndarray, shape (H, W)
        Uncovered where not positive.
    alpha_u8 : ndarray of uint8, shape (H, W), optional
        Uncovered where 0.

    Returns
    -------
    ndarray
        The input itself where the shapes do not match.
    """
    if np.shape(coverage_hw) != final_hwc.shape[:2]:
        return final_hwc
    uncovered = ~(np.asarray(coverage_hw) > 0)
    if alpha_u8 is not None and np.shape(alpha_u8) == uncovered.shape:
        uncovered |= np.asarray(alpha_u8) == 0
    result = np.array(final_hwc, dtype=np.float32)
    result[uncovered] = np.nan
    return result


def load_image_with_optional_alpha(
    path: str, *, tile_label: str | None = None
) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
    """Read an image file with its opacity.

    Parameters
    ----------
    path : str
    tile_label : str, optional
        For the log.

    Returns
    -------
    data : ndarray of float32, shape (H, W, 3) or (H, W)
        All NaN for a tile that carries ZMT_EMPT, or holds no signal.
    weights : ndarray of float32, shape (H, W)
        0 to 1, from the ALPHA image; 1 where there is none, 0 for an empty tile.
    alpha : ndarray of uint8, shape (H, W), or None
        0 throughout for an empty tile.

    Raises
    ------
    nanstack.io.frames.FrameError
        For a file that cannot be read as an image.
    """
    data, header, alpha = read_with_alpha(Path(path))
    if alpha is not None and alpha.shape != data.shape[:2]:
        raise FrameError(path, f"its ALPHA image is {alpha.shape}, its data are {data.shape}")
    if header.get("ZMT_EMPT") or (header.get("ZMT_TYPE") and _holds_no_signal(data)):
        log.warning("%s holds no signal", tile_label or Path(path).name)
        shape = data.shape[:2]
        return np.full_like(data, np.nan), np.zeros(shape, np.float32), np.zeros(shape, np.uint8)
    weights = np.ones(data.shape[:2], np.float32) if alpha is None else alpha.astype(np.float32) / np.float32(255)
    return data, weights, alpha


def _holds_no_signal(image: np.ndarray) -> bool:
    return not (np.abs(image[np.isfinite(image)]) > EMPTY_MASTER_TILE_EPS_SIGNAL).any()


# -------------------------------------------------------------------------------------------------- master tile


def create_master_tile(
    seestar_stack_group_info: list[dict],
    tile_id: int,
    output_temp_dir: str,
    stack_norm_method: str,
    stack_weight_method: str,
    stack_reject_algo: str,
    stack_kappa_low: float,
    stack_kappa_high: float,
    parsed_winsor_limits: tuple[float, float],
    stack_final_combine: str,
    poststack_equalize_rgb: bool,
    apply_radial_weight: bool,
    radial_feather_fraction: float,
    radial_shape_power: float,
    min_radial_weight_floor: float,
    quality_crop_enabled: bool,
    quality_crop_band_px: int,
    quality_crop_k_sigma: float,
    quality_crop_margin_px: int,
    quality_crop_min_run: int,
    altaz_cleanup_enabled: bool,
    altaz_margin_percent: float,
    altaz_decay: float,
    altaz_nanize: bool,
    quality_gate_enabled: bool,
    quality_gate_threshold: float,
    quality_gate_edge_band_px: int,
    quality_gate_k_sigma: float,
    quality_gate_erode_px: int,
    quality_gate_move_rejects: bool,
    astap_exe_path_global: str,
    astap_data_dir_global: str,
    astap_search_radius_global: float,
    astap_downsample_global: int,
    astap_sensitivity_global: int,
    astap_timeout_seconds_global: int,
    winsor_pool_workers: int,
    winsor_max_frames_per_pass: int,
    progress_callback: Callable | None,
    resource_strategy: dict | None = None,
    center_out_context: Any = None,
    center_out_settings: dict | None = None,
    center_out_rank: int | None = None,
    parallel_plan: Any = None,
    allow_batch_duplication: bool = True,
    target_stack_size: int = 5,
    min_safe_stack_size: int = 3,
    dbg_tile_ids: set[int] | None = None,
    abort_event: Any = None,
    heartbeat_callback: Callable | None = None,
    _internal_chunk_depth: int = 0,
) -> tuple[tuple[str | None, Any], list[list[dict]]]:
    """Make a master tile of a group of cached frames and write it to ``master_tile_{tile_id:03d}.fits``.

    Parameters
    ----------
    seestar_stack_group_info : list of dict
        A dict a frame: `path_preprocessed_cache` (a .npy of float32 (H, W, 3), in ADU), `path_raw`, `header`, `wcs`.
    tile_id : int
    output_temp_dir : str
        Made where it does not exist.
    stack_norm_method : {'none', 'linear_fit', 'sky_mean'}
        Not applied to winsorized tiles. Where none is applied, frames are matched in sky level, by an offset per
        channel, or as the setting `match_sky` says (`nanstack.levels.sky`).
    stack_weight_method : {'none', 'noise_variance', 'noise_fwhm'}
    stack_reject_algo : {'winsorized_sigma_clip', 'kappa_sigma', 'linear_fit_clip', 'none'}
    stack_kappa_low, stack_kappa_high, parsed_winsor_limits, stack_final_combine
        See `zemosaic_align_stack.stack_aligned_images`.
    poststack_equalize_rgb : bool
        Scale the channels so that their medians agree.
    apply_radial_weight, radial_feather_fraction, radial_shape_power
        See `zemosaic_utils.make_radial_weight_map`.
    quality_crop_enabled ... quality_gate_move_rejects
        Options that live in other modules of ZeMosaic; without those, a WARN and on.
    progress_callback : callable or None
        ``progress_callback(key, progress, level, **details)``.
    min_safe_stack_size : int
        A smaller group is stacked all the same, with a WARN.
    dbg_tile_ids : set of int, optional
        Tiles that report MT_COVERAGE and MT_COVERAGE_STATS.
    abort_event : threading.Event, optional
        Where set, no tile is made.
    heartbeat_callback : callable, optional
        Called without arguments after each step.
    parallel_plan : optional
        `use_gpu`, where the settings do not say; `gpu_rows_per_chunk` and `gpu_max_chunk_bytes` limit a block there.
    min_radial_weight_floor, quality_crop_min_run, astap_*, winsor_*, resource_strategy,
    allow_batch_duplication, target_stack_size, center_out_rank, _internal_chunk_depth
        Accepted, without influence: memory settings never change a result, a frame repeated adds nothing to a mean,
        and nothing is solved here.

    Returns
    -------
    (path, wcs) : (str or None, astropy.wcs.WCS or None)
        None where there is no tile; the reason has been reported.
    groups_to_retry : list of list of dict
        The frames that could not be aligned, `retry_attempt` raised by one.
    """
    report = _Reporter(
        progress_callback,
        int(tile_id),
        tile_id in (dbg_tile_ids or ()),
        abort_event=abort_event,
        heartbeat=heartbeat_callback,
    )
    zconfig = _load_zconfig()
    words = compat.StackWords(
        reject=str(stack_reject_algo or "none").lower(),
        kappas=(float(stack_kappa_low), float(stack_kappa_high)),
        winsor_limits=parsed_winsor_limits,
        normalize=str(stack_norm_method or "none").lower(),
        match=compat.setting(zconfig, "match_sky", TileSettings.match),
        weight=str(stack_weight_method or "none").lower(),
        combine=stack_final_combine,
        radial=(float(radial_feather_fraction), float(radial_shape_power)) if apply_radial_weight else None,
        gpu=compat.gpu_wanted(zconfig, parallel_plan),
    )
    crop = quality.CropLimits(quality_crop_band_px, quality_crop_k_sigma, quality_crop_margin_px)
    altaz = quality.AltazLimits(altaz_margin_percent, altaz_decay)
    gate = quality.GateLimits(
        quality_gate_threshold, quality_gate_edge_band_px, quality_gate_k_sigma, quality_gate_erode_px
    )
    job = _Job(
        folder=output_temp_dir,
        words=words,
        zconfig=zconfig,
        parallel_plan=parallel_plan,
        equalize=bool(poststack_equalize_rgb),
        fewest=max(1, int(min_safe_stack_size)),
        crop=crop if quality_crop_enabled else None,
        altaz=altaz if altaz_cleanup_enabled else None,
        nanize=bool(altaz_nanize),
        gate=gate if quality_gate_enabled else None,
        move_rejects=bool(quality_gate_move_rejects),
        center_out=center_out_context is not None,
    )
    return _master_tile(seestar_stack_group_info, job, report)


def _master_tile(
    infos: Sequence[dict] | None, job: _Job, report: _Reporter
) -> tuple[tuple[str | None, Any], list[list[dict]]]:
    """Make a master tile as it is asked for; return what `create_master_tile` does."""
    retry: list[list[dict]] = []
    try:
        _announce(infos, job.zconfig, report)
        report.step_done()
        job = replace(job, words=_without_normalisation(job.words, report))
        group = _load_group(infos, report)
        _check_reference(group, report)
        report.step_done()
        with Scratch() as scratch:
            aligned = _align(group, scratch, report)
            retry += _groups_to_retry(group, aligned.alignments, report.tile_id)
            report.step_done()
            tile = _stack(group, aligned, job, report)
            del aligned  # Windows cannot remove a file that is still mapped
        report.step_done()
        finished = _finish(tile, job, report)
        path = _write(finished, group, job, report)
    except _NoTileError:
        return (None, None), retry
    if finished.rejected:
        _say_rejected(path, finished.verdict, job, report)
        return (None, None), retry
    return (str(path), finished.tile.wcs), retry


def _announce(infos: Sequence[dict] | None, zconfig: Any, report: _Reporter) -> None:
    """Report that a tile is begun; a group without frames ends it."""
    count = len(infos or ())
    threshold = int(compat.setting(zconfig, "extreme_group_threshold", EXTREME_GROUP_THRESHOLD))
    if count >= threshold:
        report("mastertile_extreme_group", None, "WARN", num_frames=count, reason="[EXTREME_GROUP]")
    report("mastertile_info_creation_started_from_cache", None, "INFO", num_raw=count)
    if not count:
        report("mastertile_error_no_images_provided", None, "ERROR")
        raise _NoTileError
    report("mastertile_info_loading_from_cache_started", None, "DEBUG_DETAIL", num_images=count)


def _without_normalisation(words: compat.StackWords, report: _Reporter) -> compat.StackWords:
    """Return the words as they are applied: winsorized tiles are matched in sky level alone, as in ZeMosaic."""
    if words.reject != compat.WINSORIZED or words.normalize == "none":
        return words
    report(f"normalisation '{words.normalize}' not applied: winsorized tiles are matched in sky level alone")
    return replace(words, normalize="none")


def _load_zconfig() -> Any:
    """Return ZeMosaic's settings where its configuration module is there, else nothing set."""
    try:
        import zemosaic_config
    except ImportError:
        return SimpleNamespace()
    return zemosaic_config.load_config()


def _check_reference(group: _Group, report: _Reporter) -> None:
    """A tile needs its reference's WCS and header."""
    wcs = group.reference.get("wcs")
    if wcs is None or not getattr(wcs, "is_celestial", False) or not group.reference.get("header"):
        report("mastertile_error_invalid_ref_wcs_header", None, "ERROR")
        raise _NoTileError
    details = {"ref_index": group.reference_index, "ref_filename": _raw_name(group.reference), "ref_mode": "central"}
    report("mastertile_info_reference_set", None, "DEBUG_DETAIL", **details)


def _raw_name(info: dict) -> str:
    return Path(info.get("path_raw") or info.get("path_preprocessed_cache") or MISSING_RAW_NAME).name


def _align(group: _Group, scratch: Scratch, report: _Reporter) -> _Aligned:
    """Align the group on its reference, NaN outside of each frame's footprint."""
    report("mastertile_info_intra_tile_alignment_started", None, "DEBUG_DETAIL", num_to_align=len(group.frames))
    report.debugged("MT_COVERAGE: propagate_mask=True")
    solutions = [info.get("wcs") if hasattr(info.get("wcs"), "celestial") else None for info in group.infos]
    keep = scratch.keeper(len(group.frames))
    alignments: list[Alignment] = []
    images: list[np.ndarray | None] = []
    try:
        for alignment, image in align_frames(
            group.frames, group.reference_index, wcs=solutions, finish=lambda image, _: keep(image)
        ):
            alignments.append(alignment)
            images.append(image)
            done = len(images), len(group.frames)
            compat.report_alignment(alignment, _raw_name(group.infos[alignment.index]), done, report)
    except ImportError as missing:
        report(f"frames not aligned: install {missing.name or missing} with pip", None, "ERROR")
        raise _NoTileError from missing
    except OSError as failure:  # the scratch folder's disk
        report("mastertile_error_stacking_failed", None, "ERROR", error=_no_scratch(failure))
        raise _NoTileError from failure
    order = stacking_order(alignments)
    report("mastertile_info_intra_tile_alignment_finished", None, "DEBUG_DETAIL", num_aligned=len(order))
    if not np.isfinite(group.frames[group.reference_index]).any():
        report("mastertile_error_no_images_after_alignment", None, "ERROR")
        raise _NoTileError
    return _Aligned([images[index] for index in order], alignments)


def _no_scratch(failure: OSError) -> str:
    """Return what a scratch folder that cannot be written to says, and where it is."""
    return (
        f"{failure.strerror or failure}: aligned frames go to the temporary folder, where there must be room for them"
    )


def _groups_to_retry(group: _Group, alignments: Sequence[Alignment], tile_id: int) -> list[list[dict]]:
    """Return the frames that failed as one group of copies, each with one attempt more."""
    failed = [
        {
            **group.infos[alignment.index],
            "retry_attempt": int(group.infos[alignment.index].get("retry_attempt", 0)) + 1,
            "retry_origin_chain": [*group.infos[alignment.index].get("retry_origin_chain", []), tile_id],
        }
        for alignment in alignments
        if not alignment.ok
    ]
    return [failed] if failed else []


def _settings(job: _Job, report: _Reporter) -> TileSettings:
    """Return the engine's settings; those out of range end the tile."""
    try:
        return replace(job.words.settings(job.zconfig, report), equalize=job.equalize)
    except ValueError as failure:
        report("mastertile_error_stacking_failed", None, "ERROR", error=str(failure))
        raise _NoTileError from failure


def _stack(group: _Group, aligned: _Aligned, job: _Job, report: _Reporter) -> Tile:
    """Stack what was aligned."""
    if len(aligned.images) < job.fewest:
        report(f"only {len(aligned.images)} frames to stack; the tile is made all the same", None, "WARN")
    settings = _settings(job, report)
    report("mastertile_info_stacking_started", None, "DEBUG_DETAIL", num_to_stack=len(aligned.images))
    try:
        stacked = compat.stack_where_it_can(
            aligned.images, settings, job.parallel_plan, job.words.reject, report.callback
        )
    except (ValueError, MemoryError, OSError) as failure:
        report("mastertile_error_stacking_failed", None, "ERROR", error=str(failure))
        raise _NoTileError from failure
    coverage = stacked.coverage
    report.debugged(
        f"MT_COVERAGE_STATS: tile={report.tile_id} shape={coverage.shape} min={coverage.min()} max={coverage.max()}"
        f" nonzero_frac={np.count_nonzero(coverage) / coverage.size:.3f} n_used={len(aligned.images)}"
    )
    report("mastertile_info_stacking_finished", None, "DEBUG_DETAIL", shape=stacked.image.shape)
    names = [_raw_name(info) for info in group.infos]
    facts = describe(aligned.alignments, names, stacked, group.frames[group.reference_index])
    warn_unmatched(facts, compat.StackProgress(report, facts.rejection))
    return Tile(stacked.image, coverage, group.reference["wcs"], aligned.alignments, facts, stacked.colour)


def _finish(tile: Tile, job: _Job, report: _Reporter) -> _Finished:
    """Return a stacked tile with its edges trimmed, and as the options of ZeMosaic's other modules make it."""
    box = None
    if job.crop is not None:
        tile, box = _crop(tile, job.crop, report)
    alpha = opacity(tile.image)
    if job.altaz is not None:
        tile, alpha = _clean_altaz(tile, job.altaz, job.nanize, report)
    tile, alpha = _trim(tile, alpha, report)
    verdict = None if job.gate is None else quality.quality_gate(tile.image, job.gate, report)
    if job.center_out:
        report("option 'center-out normalization' skipped: levels are never shifted tile by tile", None, "WARN")
    return _Finished(tile, alpha, box, verdict)


def _crop(tile: Tile, limits: quality.CropLimits, report: _Reporter) -> tuple[Tile, quality.Box | None]:
    """Crop a tile as ZeMosaic's quality crop says; return it, and the box where it is smaller."""
    box = quality.quality_crop_box(tile.image, limits, report)
    if box is None:
        return tile, None
    y0, x0, y1, x1 = box
    return crop_tile(tile, y0, y1, x0, x1), box


def _clean_altaz(tile: Tile, limits: quality.AltazLimits, nanize: bool, report: _Reporter) -> tuple[Tile, np.ndarray]:
    """Take away what ZeMosaic's clean-up finds to be an artefact of field rotation; return the tile and its alpha."""
    mask = quality.altaz_mask(tile.image, tile.coverage, limits, report)
    if mask is None:
        return tile, opacity(tile.image)
    alpha = np.rint(255 * np.clip(mask, 0.0, 1.0)).astype(np.uint8)
    if nanize:
        tile = replace(tile, image=_nanize_by_coverage(tile.image, alpha))
    return tile, np.minimum(alpha, opacity(tile.image))


def _trim(tile: Tile, alpha: np.ndarray, report: _Reporter) -> tuple[Tile, np.ndarray]:
    """Trim a tile's edges; return it with its opacity, trimmed alike."""
    trimmed, (top, bottom, left, right) = trim_edges(tile, alpha)
    if trimmed.coverage.shape != tile.coverage.shape:
        kept = f"rows {top}:{bottom}, columns {left}:{right}"
        report(f"MT_EDGE_TRIM: tile={report.tile_id} {kept} of {tile.coverage.shape}", None, "INFO")
    return trimmed, alpha[top:bottom, left:right]


def _tile_header(group: _Group, tile: Tile, words: compat.StackWords, tile_id: int) -> Any:
    """Return the cards of a master tile."""
    from astropy.io import fits

    header = fits.Header()
    for name, card in {
        "ZMT_TYPE": ("Master Tile", "ZeMosaic master tile"),
        "ZMT_ID": (tile_id, "tile number"),
        "ZMT_NRAW": (len(group.infos), "frames in the group"),
        "ZMT_NALGN": (tile.report.frames_aligned, "frames aligned and stacked"),
        "MT_NFRAMES": (tile.report.frames_aligned, "frames aligned and stacked"),
        "ZMT_REF": (card_value(_raw_name(group.reference)), "reference frame, whose WCS the tile has"),
        **_settings_cards(words),
        **_colour_cards(tile),
        "ZMT_P3CO": (0, "levels shifted tile by tile"),
        "ZMT_AGAIN": (1.0, "gain of that shift"),
        "ZMT_AOFF": (0.0, "offset of that shift"),
        "ZMT_ANCH": (-1, "anchor tile of that shift"),
        "ALPHAEXT": (1, "an ALPHA image follows"),
        **tile.report.cards(),
    }.items():
        header[name if len(name) <= 8 else f"HIERARCH {name}"] = card
    _copy_reference_cards(header, group)
    for name, reason in tile.report.frames_failed.items():
        header.add_history(card_value(f"frame {name} failed: {reason}"))
    header.add_history(f"colour equalisation applied: {tile.colour.applied}")
    return header


def _quality_cards(crop_box: quality.Box | None, verdict: quality.Verdict | None) -> dict:
    """Return the cards of quality crop and quality gate."""
    cards: dict[str, tuple[Any, str]] = {"ZMT_QCRO": (crop_box is not None, "quality crop applied")}
    if crop_box is not None:
        cards["ZMT_QBOX"] = (",".join(map(str, crop_box)), "quality crop y0,x0,y1,x1")
    if verdict is not None:
        cards["ZMT_QS"] = (_finite(verdict.score), "quality score, 0 is good")
        cards["ZMT_QBD"] = (int(not verdict.accepted), "1: rejected by the quality gate")
    return cards


def _settings_cards(words: compat.StackWords) -> dict[str, tuple[Any, str]]:
    """Return the cards that say how a tile was stacked, in ZeMosaic's words."""
    cards = {
        "ZMT_NORM": (words.normalize, "normalisation"),
        "ZMT_WGHT": (words.weight, "weighting"),
        "ZMT_RADW": (words.radial is not None, "radial weight"),
        "ZMT_REJ": (words.reject, "rejection"),
        "ZMT_KAPLO": (words.kappas[0], "kappa at the low end"),
        "ZMT_KAPHI": (words.kappas[1], "kappa at the high end"),
        "ZMT_COMB": (str(words.combine), "combine"),
    }
    if words.radial is not None:
        cards["ZMT_RADF"] = (words.radial[0], "radial feather")
        cards["ZMT_RADP"] = (words.radial[1], "radial power")
    if words.reject == compat.WINSORIZED:
        low, high = compat.winsor_limits(words.winsor_limits)
        cards["ZMT_WINLO"] = (low, "winsorized fraction at the low end")
        cards["ZMT_WINHI"] = (high, "winsorized fraction at the high end")
    return cards


def _colour_cards(tile: Tile) -> dict[str, tuple[Any, str]]:
    """Return the cards of colour equalisation."""
    red, green, blue = tile.colour.gains
    return {
        "RGBGAINR": (red, "colour equalisation, red"),
        "RGBGAING": (green, "colour equalisation, green"),
        "RGBGAINB": (blue, "colour equalisation, blue"),
        "RGBEQMED": (_finite(tile.colour.target), "common median"),
    }


def _finite(value: float) -> float | str:
    """Return a card's value: FITS cards cannot hold NaN."""
    return float(value) if math.isfinite(value) else "nan"


def _copy_reference_cards(header: Any, group: _Group) -> None:
    """Add what the reference's header says of the telescope, and the exposure times of all frames."""
    reference = group.reference["header"]
    for name in CARDS_FROM_REFERENCE:
        if reference.get(name) is not None:
            header[name] = card_value(reference[name])
    exposures = [info.get("header") or {} for info in group.infos]
    seconds = [exposure.get("EXPTIME", exposure.get("EXPOSURE")) for exposure in exposures]
    seconds = [float(value) for value in seconds if isinstance(value, (int, float))]
    header["EXPTOTAL"] = (round(sum(seconds), 2), "[s] exposure time of the frames of the group")
    header["NEXP_SUM"] = (len(seconds), "frames whose exposure time is known")


def _write(finished: _Finished, group: _Group, job: _Job, report: _Reporter) -> Path:
    """Write a tile, one without signal all NaN and transparent; return the path of its file."""
    tile, alpha = finished.tile, finished.alpha
    header = _tile_header(group, tile, job.words, report.tile_id)
    header.update(_quality_cards(finished.crop_box, finished.verdict))
    path = Path(job.folder).expanduser() / f"master_tile_{report.tile_id:03d}.fits"
    if _holds_no_signal(tile.image):
        values = tile.image[np.isfinite(tile.image)]
        header["ZMT_EMPT"] = (1, "no signal: transparent throughout")
        header["ZMT_EMAX"] = (float(np.abs(values).max(initial=0.0)), "greatest absolute value")
        header["ZMT_ESTD"] = (float(values.std()) if values.size else 0.0, "standard deviation")
        header["ZMT_EVF"] = (values.size / tile.image.size, "share of valid samples")
        header["ZMT_EPS"] = (EMPTY_MASTER_TILE_EPS_SIGNAL, "greatest absolute value that is no signal")
        report("MT_EMPTY_TILE", None, "WARN")
        tile, alpha = replace(tile, image=np.full_like(tile.image, np.nan)), np.zeros_like(alpha)
    try:
        write_tile(tile, path, header, alpha)
    except OSError as failure:
        report("mastertile_error_saving", None, "ERROR", error=str(failure))
        raise _NoTileError from failure
    report("mastertile_info_saved", None, "INFO_DETAIL", format_type="float32", filename=path.name)
    return path


def _say_rejected(path: Path, verdict: quality.Verdict, job: _Job, report: _Reporter) -> None:
    """Report a tile that the quality gate rejected, and move it aside where that is asked for."""
    score, threshold = f"{verdict.score:.3f}", f"{float(job.gate.threshold):.3f}"
    report("mt_quality_gate_result", None, "INFO", score=score, threshold=threshold, status="REJECT")
    if not job.move_rejects:
        return
    try:
        report("mt_quality_gate_moved", None, "WARN", dst=str(quality.move_reject(path)))
    except OSError as failure:  # it stays where it is, and carries the verdict in its header
        report(f"{path.name}: rejected, and cannot be moved aside ({failure.strerror or failure})", None, "WARN")
