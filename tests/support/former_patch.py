# SPDX-License-Identifier: GPL-3.0-or-later
"""What the version with flat modules (until November 2026) left in a ZeMosaic in miniature of the kind 'pre-fix'.

Written down from a real run of it; `PATCHED` are the hashes of the modules as that run left them.
"""

import hashlib
import json

from tests.support.small_zemosaic import zemosaic

PATCHED = {
    "zemosaic_worker.py": "c209d409d7d0fc1ef2ac2d11ca5b1ad97babe17913b8f6bbd39c46a39421de8c",
    "zemosaic_align_stack.py": "02034788c2ae39985f89a8b43ca185d878cbdef564feef27dc3a8106df750dda",
    "zemosaic_align_stack_gpu.py": "7d8cd413d41e402eed635585e62e03027d1dbd3bff52e495785069895b5649f3",
    "zemosaic_utils.py": "9cf897eeabbf3e1d18858f20c7417a704e9baaa66bae004744fdf73049e92db1",
}
DECISION = (
    "propagate_mask_for_coverage = bool(",
    "propagate_mask_for_coverage = "
    "zemosaic_align_stack.zemosaic_patch_nan_safe(stack_reject_algo, progress_callback) or bool(",
)
FILL = (
    "if propagate_mask_for_coverage:",
    "if propagate_mask_for_coverage is not zemosaic_align_stack.ZEMOSAIC_PATCH_NAN_SAFE and "
    "propagate_mask_for_coverage:",
)
BLOCK = """
# >>> zemosaic-patch: NaN-safe master tiles; `zemosaic-patch revert` takes this out
if __package__:
    from .zemosaic_patch_engine import dropin_hooks as _zemosaic_patch
else:
    from zemosaic_patch_engine import dropin_hooks as _zemosaic_patch
{lines}
# <<< zemosaic-patch
"""
ALIGN = """\
ZEMOSAIC_PATCH_NAN_SAFE = _zemosaic_patch.NAN_SAFE
zemosaic_patch_nan_safe = _zemosaic_patch.decision("winsorized_sigma_clip")
align_images_in_group = _zemosaic_patch.aligner(align_images_in_group, canvas=False)
stack_winsorized_sigma_clip = _zemosaic_patch.stacker(stack_winsorized_sigma_clip)
stack_aligned_images = _zemosaic_patch.stacker(stack_aligned_images)"""
GPU = """\
gpu_stack_from_arrays = _zemosaic_patch.gpu_stacker(gpu_stack_from_arrays, GPUStackingError)
gpu_stack_from_paths = _zemosaic_patch.gpu_stacker(gpu_stack_from_paths, GPUStackingError)"""
UTILS = "_percentiles_gpu = _zemosaic_patch.percentiles(_percentiles_gpu)"
ENGINE_FILES = (
    *("__init__.py", "dropin_hooks.py", "zemosaic_align_stack.py", "zemosaic_align_stack_gpu.py", "zemosaic_utils.py"),
    *("nanstack/__init__.py", "nanstack/cuda_kernels.cu", "nanstack/kernels.py", "nanstack/warp.py"),
)  # and 18 more of nanstack's, all in one folder


def patched_by_the_former_version(folder, left_out=(), all_algorithms=False):
    """Write a ZeMosaic as a run of the former version left it; `left_out` names modules that a killed run left."""
    root = zemosaic(folder)
    engine = root / "zemosaic_patch_engine"
    manifest = {"all_algorithms": all_algorithms, "match_sky": "none", "modules": {}, "engine": {}}
    for name in ENGINE_FILES:
        manifest["engine"][name] = _write(engine / name, f"# {name} of the former engine\n".encode())
    for name, data in _patched(root).items():
        original = _write(engine / "originals" / f"{name}.orig", (root / name).read_bytes())
        manifest["modules"][name] = {"original": original, "patched": _write(engine / "staged" / name, data)}
        if name not in left_out:
            (engine / "staged" / name).replace(root / name)
    if not left_out:
        (engine / "staged").rmdir()
    (engine / "manifest.json").write_text(json.dumps(manifest, indent=1))
    return root


def _patched(root):
    """Return the modules' bytes with the patch in them."""
    texts = {name: (root / name).read_bytes().decode() for name in PATCHED}
    worker, align, gpu, utils = texts.values()
    worker = worker.replace(*DECISION).replace(*FILL)
    gpu += "\n"  # it ended without one
    new = (worker, *(text + BLOCK.format(lines=lines) for text, lines in ((align, ALIGN), (gpu, GPU), (utils, UTILS))))
    return {name: text.encode() for name, text in zip(PATCHED, new, strict=True)}


def _write(path, data):
    """Write a file; return its hash."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return hashlib.sha256(data).hexdigest()
