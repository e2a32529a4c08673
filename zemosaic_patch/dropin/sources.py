# SPDX-License-Identifier: GPL-3.0-or-later
"""ZeMosaic's source files: what holds in them, and the insertions that put the patch in.

Files are handled as bytes, and all changes are insertions, so that line ends, a byte order mark and everything else
stay as they are. Places are found in the syntax tree, by name, never by line number.
"""

from __future__ import annotations

import ast
import difflib
import hashlib
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TypeVar

from nanstack.io.archives import PARSING

WORKER, ALIGN, GPU, UTILS = (
    "zemosaic_worker.py",
    "zemosaic_align_stack.py",
    "zemosaic_align_stack_gpu.py",
    "zemosaic_utils.py",
)
MODULES = (WORKER, ALIGN, GPU, UTILS)
ENGINE = "zemosaic_patch_engine"
BEGIN = "# >>> zemosaic-patch"
END = "# <<< zemosaic-patch"
MARK = b"zemosaic_patch"  # in every insertion
CONFLICT = re.compile(rb"^<<<<<<< ", re.MULTILINE)
BOM = b"\xef\xbb\xbf"
DECISION = "propagate_mask_for_coverage"
OURS = "zemosaic_align_stack.zemosaic_patch_nan_safe(stack_reject_algo, progress_callback) or "  # before the decision
KEPT = f"{DECISION} is not zemosaic_align_stack.ZEMOSAIC_PATCH_NAN_SAFE and "  # before the test of the NaN's filling
COVERAGE = "coverage_count_hw"
ALPHA_BEGIN, ALPHA_END = "zemosaic_align_stack._zemosaic_patch.coverage_alpha(", f", {COVERAGE}, {DECISION})"
SOFT_ALPHA = "phase5_alpha_soft_weights"  # the setting of a Phase 5 that takes ALPHA as weight
WINSORIZED = "winsorized_sigma_clip"
SKY_MODEL = "plane"  # by which `apply` matches frames: their gradients differ, too (docs/dropin.md has the figures)
NAN_PERCENTILES = ("nanpercentile", "nanquantile", "_nan_quantiles")  # the last one is of `zemosaic-patch export`
NAN_SAFE_REGISTER = "_register_nan_safe"  # of `zemosaic-patch export`
SKY_MATCHES = {"match_sky", "_match_sky_offsets"}  # the second one is of `zemosaic-patch export`
T = TypeVar("T")


class AnchorError(Exception):
    """The place of an insertion is not there, or not what it is expected to be; names the file and the place."""


@dataclass(frozen=True)
class Source:
    """A source file.

    Attributes
    ----------
    name : str
    data : bytes
        As it lies on the disk.
    """

    name: str
    data: bytes

    @cached_property
    def tree(self) -> ast.Module:
        """The syntax tree; a file that is none raises AnchorError."""
        try:
            with PARSING:
                return ast.parse(self.data.removeprefix(BOM).decode("utf-8"))
        except SyntaxError as error:
            if CONFLICT.search(self.data):
                raise AnchorError(f"{self.name} holds marks of git, which could not merge it (<<<<<<<)") from error
            raise AnchorError(f"{self.name} is no Python source: {error.msg}, line {error.lineno}") from error
        except ValueError as error:
            raise AnchorError(f"{self.name} is no Python source in UTF-8: {error}") from error

    @cached_property
    def _line_starts(self) -> list[int]:
        start = len(BOM) if self.data.startswith(BOM) else 0
        return [start, *(end.end() for end in re.finditer(rb"\r\n|\r|\n", self.data))]

    @cached_property
    def newline(self) -> bytes:
        """The line end that the file's first line has."""
        first = re.search(rb"\r\n|\r|\n", self.data)
        return first.group() if first else b"\n"

    @property
    def patched(self) -> bool:
        """Whether there is an insertion of ours in it."""
        return MARK in self.data

    def start(self, node: ast.AST) -> int:
        """Return the offset of a node's first byte."""
        return self._line_starts[node.lineno - 1] + node.col_offset

    def end(self, node: ast.AST) -> int:
        """Return the offset after a node's last byte."""
        return self._line_starts[node.end_lineno - 1] + node.end_col_offset

    def definition(self, name: str) -> ast.FunctionDef | ast.ClassDef | None:
        """Return the last definition of a function or class at the top level."""
        found = None
        for node in self.tree.body:
            if isinstance(node, (ast.FunctionDef, ast.ClassDef)) and node.name == name:
                found = node
        return found

    def required(self, name: str) -> ast.FunctionDef | ast.ClassDef:
        """Return a definition, or raise AnchorError."""
        found = self.definition(name)
        if found is None:
            raise AnchorError(f"{self.name} has no {name}")
        return found

    def imports(self, name: str) -> bool:
        """Tell whether the module imports a name at its top level."""
        imported = (node for node in ast.walk(self.tree) if isinstance(node, ast.ImportFrom) and not node.col_offset)
        return any(alias.name == name and alias.asname is None for node in imported for alias in node.names)


@dataclass(frozen=True)
class Insertion:
    """Bytes that are put in before an offset of the original file."""

    offset: int
    text: bytes


def inserted(data: bytes, insertions: Sequence[Insertion]) -> bytes:
    """Return the bytes with the insertions in them."""
    parts, at = [], 0
    for insertion in sorted(insertions, key=lambda one: one.offset):
        parts += [data[at : insertion.offset], insertion.text]
        at = insertion.offset
    return b"".join([*parts, data[at:]])


# -------------------------------------------------------------------------------------------------- the changes


def patched(sources: dict[str, Source], all_algorithms: bool, match_sky: str) -> dict[str, bytes]:
    """Return the new bytes of each module that the patch changes; see `patch.apply` for the choices.

    Raises
    ------
    AnchorError
        Where a place is not found.
    """
    changes = {
        WORKER: _worker_insertions(sources[WORKER], match_sky),
        ALIGN: _block(sources[ALIGN], _align_lines(sources[ALIGN], all_algorithms)),
        GPU: _block(sources[GPU], _gpu_lines(sources[GPU])),
        UTILS: _block(sources[UTILS], _utils_lines(sources[UTILS])),
    }
    return {name: inserted(sources[name].data, change) for name, change in changes.items() if change}


def _worker_insertions(source: Source, match_sky: str) -> list[Insertion]:
    """Put our decision before ZeMosaic's, let our tiles keep their NaN, match their frames, and weigh their edges."""
    decision = propagate_decision(source).value
    fill = nan_fill(source)
    matched = [_sky_line(source, fill, match_sky)] if match_sky != "none" else []
    return [*_before(source, decision, OURS), *matched, *_before(source, fill.test, KEPT), *_alpha_insertions(source)]


def _sky_line(source: Source, fill: ast.If, model: str) -> Insertion:
    """Put a line that matches the frames in sky level before the statement that replaces their NaN."""
    frames = filled_frames(source, fill)
    line = f'zemosaic_align_stack._zemosaic_patch.match_sky({frames}, "{model}", progress_callback)'
    start = source.start(fill)
    indent = source.data[start - fill.col_offset : start]
    return Insertion(start, line.encode() + source.newline + indent)


def _alpha_insertions(source: Source) -> list[Insertion]:
    """Let ALPHA follow the coverage where Phase 5 takes it as weight; before 4.5 it does not, and nothing is put in."""
    if SOFT_ALPHA.encode() not in source.data:
        return []
    function = source.required("create_master_tile")
    saved = [
        argument.value
        for call in ast.walk(function)
        if isinstance(call, ast.Call) and "save_fits_image" in _names(call.func)
        for argument in call.keywords
        if argument.arg == "alpha_mask" and isinstance(argument.value, ast.Name)
    ]
    mask = _only(saved, source, "call of save_fits_image with an alpha_mask")
    if COVERAGE not in _names(function):
        raise AnchorError(f"{source.name}: create_master_tile has no {COVERAGE}")
    begin, end = Insertion(source.start(mask), ALPHA_BEGIN.encode()), Insertion(source.end(mask), ALPHA_END.encode())
    return [begin, end]


def _before(source: Source, node: ast.expr, text: str) -> list[Insertion]:
    """Put text before an expression, which gets parentheses where it may need them."""
    if binds_tightly(node):
        return [Insertion(source.start(node), text.encode())]
    return [Insertion(source.start(node), f"{text}(".encode()), Insertion(source.end(node), b")")]


def binds_tightly(node: ast.expr) -> bool:
    """Tell whether `or` and `and` before an expression need no parentheses around it."""
    return isinstance(node, (ast.Call, ast.Name)) or (isinstance(node, ast.BoolOp) and isinstance(node.op, ast.And))


def propagate_decision(source: Source) -> ast.Assign:
    """Return the assignment in which the worker decides whether a group's frames keep their masks."""
    function = source.required("create_master_tile")
    arguments = {argument.arg for argument in function.args.args}
    if not {"stack_reject_algo", "progress_callback"} <= arguments:
        raise AnchorError(f"{source.name}: create_master_tile has no stack_reject_algo and progress_callback")
    found = [
        node
        for node in ast.walk(function)
        if isinstance(node, ast.Assign) and [ast.unparse(target) for target in node.targets] == [DECISION]
    ]
    return _only(found, source, f"assignment of {DECISION}")


def nan_fill(source: Source) -> ast.If:
    """Return the statement that replaces NaN in aligned frames."""
    found = [
        node
        for node in ast.walk(source.required("create_master_tile"))
        if isinstance(node, ast.If) and DECISION in _names(node.test) and "nan_to_num" in _names(*node.body)
    ]
    return _only(found, source, f"`if {DECISION}` around nan_to_num")


def filled_frames(source: Source, fill: ast.If) -> str:
    """Return the name of the list of frames whose NaN a statement replaces."""
    filled = (node for node in ast.walk(fill) if isinstance(node, ast.Assign) and "nan_to_num" in _names(node.value))
    lists = {ast.unparse(t.value) for node in filled for t in node.targets if isinstance(t, ast.Subscript)}
    return _only(list(lists), source, "list of frames that nan_to_num fills")


def _only(found: list[T], source: Source, what: str) -> T:
    if len(found) != 1:
        raise AnchorError(f"{source.name}: create_master_tile has {f'{len(found)} times' if found else 'no'} {what}")
    return found[0]


def _align_lines(source: Source, all_algorithms: bool) -> list[str]:
    align = source.required("align_images_in_group")
    stackers = ["stack_winsorized_sigma_clip", "stack_aligned_images"]
    if all_algorithms:
        stackers += ["stack_kappa_sigma_clip", "stack_linear_fit_clip"]
    for name in stackers:
        source.required(name)
    algorithms = "" if all_algorithms else f'"{WINSORIZED}"'
    canvas = "AUTO_PAD_CANVAS" in _names(align)
    return [
        "ZEMOSAIC_PATCH_NAN_SAFE = _zemosaic_patch.NAN_SAFE",
        f"zemosaic_patch_nan_safe = _zemosaic_patch.decision({algorithms})",
        f"align_images_in_group = _zemosaic_patch.aligner(align_images_in_group, canvas={canvas})",
        *(f"{name} = _zemosaic_patch.stacker({name}{_clip_argument(source)})" for name in stackers),
    ]


def _gpu_lines(source: Source) -> list[str]:
    source.required("GPUStackingError")
    stackers = ("gpu_stack_from_arrays", "gpu_stack_from_paths")
    for name in stackers:
        source.required(name)
    return [
        f"{name} = _zemosaic_patch.gpu_stacker({name}, GPUStackingError{_clip_argument(source)})" for name in stackers
    ]


def _clip_argument(source: Source) -> str:
    return ", wsc_impl=resolve_wsc_impl" if source.imports("resolve_wsc_impl") else ""


def _utils_lines(source: Source) -> list[str]:
    if _mentions(source.required("_percentiles_gpu"), NAN_PERCENTILES):
        return []
    return ["_percentiles_gpu = _zemosaic_patch.percentiles(_percentiles_gpu)"]


def _block(source: Source, lines: list[str]) -> list[Insertion]:
    """Put one marked block at the end of a module, with its line ends."""
    if not lines:
        return []
    text = [
        "",
        f"{BEGIN}: NaN-safe master tiles; `zemosaic-patch revert` takes this out",
        "if __package__:",
        f"    from .{ENGINE}.zemosaic_patch.dropin import hooks as _zemosaic_patch",
        "else:",
        f"    from {ENGINE}.zemosaic_patch.dropin import hooks as _zemosaic_patch",
        *lines,
        END,
        "",
    ]
    return [Insertion(len(source.data), source.newline.join(line.encode() for line in text))]


def _names(*nodes: ast.AST) -> set[str]:
    """Return the names and attributes that are used anywhere in syntax trees."""
    found = set()
    for node in (inner for outer in nodes for inner in ast.walk(outer)):
        if isinstance(node, ast.Name):
            found.add(node.id)
        elif isinstance(node, ast.Attribute):
            found.add(node.attr)
    return found


def _mentions(node: ast.AST, words: Sequence[str]) -> bool:
    """Tell whether a tree uses one of the names, or spells it out as `getattr` needs it."""
    spelled = {inner.value for inner in ast.walk(node) if isinstance(inner, ast.Constant)}
    return any(word in _names(node) or word in spelled for word in words)


def difference(name: str, before: bytes, after: bytes) -> str:
    """Return the unified diff of a file; line ends are shown as plain ones."""
    old, new = (data.removeprefix(BOM).decode("utf-8").splitlines() for data in (before, after))
    return "\n".join(difflib.unified_diff(old, new, f"a/{name}", f"b/{name}", lineterm=""))


def fingerprint(data: bytes) -> str:
    """Return a file's hash, whatever its line ends and byte order mark."""
    return hashlib.sha256(data.removeprefix(BOM).replace(b"\r\n", b"\n")).hexdigest()[:12]


# ------------------------------------------------------------------------------------------------- what holds


@dataclass(frozen=True)
class Finding:
    """One line of the checklist: whether it holds, and where that was read."""

    holds: bool
    place: str
    text: str


def findings(sources: dict[str, Source]) -> Iterator[Finding]:
    """Yield what holds on the way of a winsorized tile and what does not, item by item; the sky is the last.

    Raises
    ------
    AnchorError
        Where a place is not found.
    """
    worker, align, gpu, utils = (sources[name] for name in MODULES)
    decision, fill = propagate_decision(worker), nan_fill(worker)
    text = "what a frame does not cover is marked as such in winsorized tiles (mask)"
    yield _found(worker, decision, spares_winsorized(decision.value), text)
    text = "it is not filled with a number before they are stacked (nan_to_num)"
    yield _found(worker, fill, spares_winsorized(fill.test), text)
    text = "the limits of the winsorized clip leave it out"
    node = align.required("_winsorize_block_numpy")
    yield _found(align, node, align.patched or _mentions(node, NAN_PERCENTILES), f"{text} (CPU)")
    node = gpu.required("_winsorize_chunk")
    yield _found(gpu, node, gpu.patched or _mentions(node, NAN_PERCENTILES), f"{text} (GPU)")
    text = "percentiles leave it out (GPU)"
    node = utils.required("_percentiles_gpu")
    yield _found(utils, node, utils.patched or _mentions(node, NAN_PERCENTILES), text)
    text = "an external winsorized stack is given complete frames alone"
    node = align.required("stack_winsorized_sigma_clip")
    yield _found(align, node, align.patched or guards_external_stack(node), text)
    text = "a frame's outline is read the right way round, not inside out (footprint)"
    node = align.required("align_images_in_group")
    replaced = align.patched or NAN_SAFE_REGISTER in _names(node)
    yield _found(align, node, replaced or _inverts_footprint(node), text)
    text = "frames are not shifted, which would fill their edges, before they are aligned"
    shift = next((inner for inner in ast.walk(node) if getattr(inner, "name", "") == "_fft_phase_shift"), None)
    yield _found(align, shift or node, replaced or shift is None, text)
    text = "a tile's frames are matched in sky level: no outline shows where one ends"
    matched = not SKY_MATCHES.isdisjoint(_names(worker.required("create_master_tile")))
    yield _found(worker, fill, matched, text)


def _found(source: Source, node: ast.AST, holds: bool, text: str) -> Finding:
    return Finding(holds, f"{source.name}:{node.lineno}", text)


def spares_winsorized(test: ast.expr) -> bool:
    """Tell whether an expression has winsorized tiles apart."""
    return bool({"winsorized_reject", "zemosaic_patch_nan_safe", "ZEMOSAIC_PATCH_NAN_SAFE"} & _names(test))


def guards_external_stack(function: ast.FunctionDef) -> bool:
    """Tell whether the stacker looks at where `cpu_stack_winsorized` comes from."""
    compared = (node for node in ast.walk(function) if isinstance(node, ast.Compare))
    return any({"cpu_stack_winsorized", "_cpu_stack_winsorized_fallback"} <= _names(node) for node in compared)


def _inverts_footprint(function: ast.FunctionDef) -> bool:
    """Tell whether the footprint of `astroalign.register`, True where there is no data, is turned round."""
    inverted = (n.operand for n in ast.walk(function) if isinstance(n, ast.UnaryOp) and isinstance(n.op, ast.Invert))
    return any(name.startswith(("fp", "footprint")) for operand in inverted for name in _names(operand))


def version_of(root: Path) -> str:
    """Return the version that a checkout says it is."""
    for name in ("version.txt", "zemosaic_gui_qt.py", "zemosaic_gui.py"):
        path = root / name
        if path.is_file():
            said = re.search(r"ZeMosaic V?(\d+(?:\.\d+)+)", path.read_text(encoding="utf-8", errors="replace"))
            if said:
                return said.group(1)
    return "unknown"
