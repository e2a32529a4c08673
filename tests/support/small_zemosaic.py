# SPDX-License-Identifier: GPL-3.0-or-later
"""A ZeMosaic in miniature, of three kinds, for the drop-in to be tried on."""

import os

from zemosaic_patch.dropin.sources import MODULES

WORKER = '''\
"""A worker in miniature."""
import numpy as np
import zemosaic_align_stack
import zemosaic_align_stack_gpu

altaz = False


def create_master_tile(frames, stack_reject_algo, progress_callback=None):
    {winsorized}propagate_mask_for_coverage = {decision}
    aligned, failed = zemosaic_align_stack.align_images_in_group(
        image_data_list=frames, propagate_mask=propagate_mask_for_coverage, progress_callback=progress_callback
    )
    kept = [frame for frame in aligned if frame is not None]
    if {condition}:
        for index, frame in enumerate(kept):
            kept[index] = np.nan_to_num(frame, nan=-1.0)
{saved}    if stack_reject_algo == "winsorized_sigma_clip":
        return str(propagate_mask_for_coverage), zemosaic_align_stack.stack_winsorized_sigma_clip(kept)[0]
    return str(propagate_mask_for_coverage), zemosaic_align_stack.stack_kappa_sigma_clip(kept)[0]
'''


ALIGN = """\
import numpy as np
{imports}

cpu_stack_winsorized = None
{astroalign}

def _cpu_stack_winsorized_fallback(frames):
    return np.{quantile}(frames, 0.5, axis=0)


def _winsorize_block_numpy(arr_block, limits):
    return np.{quantile}(arr_block, 0.5, axis=0)


def align_images_in_group(
    image_data_list, reference_image_index=0, detection_sigma=3.0, min_area=5, propagate_mask=False,
    progress_callback=None,
):
    {canvas}
    def _fft_phase_shift(a, b):
        return 0, 0, 1.0
{aligned}
    return out, []


def stack_winsorized_sigma_clip(
    frames, weights=None, weight_method="none", zconfig=None, stack_metadata=None, parallel_plan=None, **kwargs
):
    external = {external}
    return np.mean(frames, axis=0) + 7000, 0.0


def stack_kappa_sigma_clip(
    frames, weight_method="none", zconfig=None, stack_metadata=None, parallel_plan=None, **kwargs
):
    return np.mean(frames, axis=0) + 8000, 0.0


def stack_linear_fit_clip(
    frames, weight_method="none", zconfig=None, stack_metadata=None, parallel_plan=None, **kwargs
):
    return np.mean(frames, axis=0) + 8500, 0.0


def stack_aligned_images(aligned_image_data_list, zconfig=None, **kwargs):
    return np.mean(aligned_image_data_list, axis=0) + 9000
"""


SAVED = """\
    if propagate_mask_for_coverage:  # phase5_alpha_soft_weights
        import zemosaic_utils

        coverage_count_hw = np.isfinite(np.stack(kept)[..., 0]).sum(axis=0)
        alpha_mask_out = np.where(coverage_count_hw > 0, 255, 0).astype(np.uint8)
        zemosaic_utils.save_fits_image(image_data=kept[0], alpha_mask=alpha_mask_out)
"""
SAVE = """
saved = []


def save_fits_image(image_data, alpha_mask=None):
    saved.append(alpha_mask)

"""


GPU = """\
import numpy as np
{imports}{helpers}

class GPUStackingError(RuntimeError):
    pass


def _gpu_is_usable(logger=None):
    return True


def _winsorize_chunk(data_gpu, limits):
    return np.{quantile}(data_gpu, 0.5, axis=0)


def gpu_stack_from_arrays(
    aligned_images, stacking_params, *, parallel_plan=None, logger=None, pcb_tile=None, tile_id=None, zconfig=None
):
    return np.mean(aligned_images, axis=0) + 10000, {{}}


def gpu_stack_from_paths(image_descriptors, stacking_params, *, array_loader=None, zconfig=None, **kwargs):
    return gpu_stack_from_arrays(image_descriptors, stacking_params, zconfig=zconfig)


__all__ = ["gpu_stack_from_arrays"]"""


UTILS = """\
import numpy as np
{save}

def _percentiles_gpu(arr2d, p_low, p_high):
    low, high = np.{quantile}(arr2d, [p_low / 100, p_high / 100])
    return float(low), float(high)
"""


CLIP = """
def resolve_wsc_impl(zconfig=None):
    return "pixinsight"
"""


ASTROALIGN = """

class astroalign_module:
    @staticmethod
    def register(source, target, propagate_mask=False):
        return source, np.zeros(source.shape[:2], bool)
"""
ALIGNED_AT_ONCE = """\
    footprint = np.zeros(image_data_list[0].shape[:2], bool)
    out = [np.where(footprint[..., None], np.nan, image) for image in image_data_list]"""
REGISTERED = """\
    out = []
    for image in image_data_list:
        try_fft = True
        result = astroalign_module.register(source=image, target=image_data_list[0], propagate_mask=propagate_mask)
        out.append(np.where(result[1][..., None], np.nan, result[0]))"""
SINCE_4_3_1 = {"astroalign": ASTROALIGN, "aligned": REGISTERED, "helpers": "\nimport zemosaic_align_stack as _zas"}


KINDS = {
    "pre-fix": {
        "winsorized": "",
        "decision": "bool(altaz)",
        "condition": "propagate_mask_for_coverage",
        "quantile": "quantile",
        "external": "cpu_stack_winsorized",
        "canvas": "pass",
        "saved": "",
        "save": "",
        "imports": "",
        "astroalign": "",
        "aligned": ALIGNED_AT_ONCE,
        "helpers": "",
    },
    "fixed": {
        **SINCE_4_3_1,
        "winsorized": 'winsorized_reject = stack_reject_algo == "winsorized_sigma_clip"\n    ',
        "decision": "bool(\n        winsorized_reject or altaz\n    )",
        "condition": "propagate_mask_for_coverage and not winsorized_reject",
        "quantile": "nanquantile",
        "external": "cpu_stack_winsorized is not _cpu_stack_winsorized_fallback",
        "canvas": "pass",
        "saved": "",
        "save": "",
        "imports": "",
    },
    "newest": {
        **SINCE_4_3_1,
        "winsorized": 'winsorized_reject = stack_reject_algo == "winsorized_sigma_clip"\n    ',
        "decision": "altaz or None",
        "condition": "propagate_mask_for_coverage and not winsorized_reject",
        "quantile": "nanquantile",
        "external": "cpu_stack_winsorized is not _cpu_stack_winsorized_fallback",
        "canvas": "AUTO_PAD_CANVAS = True",
        "saved": SAVED,
        "save": SAVE,
        "imports": "from clip import resolve_wsc_impl",
    },
}


def zemosaic(folder, kind="pre-fix", newline="\n", bom=""):
    """Write a ZeMosaic in miniature."""
    folder.mkdir(exist_ok=True)
    for name, text in zip(MODULES, (WORKER, ALIGN, GPU, UTILS), strict=True):
        text = bom + text.format(**KINDS[kind])
        (folder / name).write_bytes(text.replace("\n", newline).encode("utf-8"))
    (folder / "clip.py").write_text(CLIP)
    (folder / "version.txt").write_text("ZeMosaic 9.9.1\n")
    (folder / "__init__.py").write_text("")
    return folder


def tree(folder):
    """Return every file's bytes and every link's target."""
    return {
        str(path.relative_to(folder)): os.readlink(path) if path.is_symlink() else path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_symlink() or path.is_file()
    }
