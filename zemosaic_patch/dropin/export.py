# SPDX-License-Identifier: GPL-3.0-or-later
"""`zemosaic-patch export`: the fix as a patch of ZeMosaic's own source, for its maintainer to review and merge.

Nothing of our engine is in it. What it adds lies in `zemosaic_patch.dropin.maintainer`; where that goes is found in
ZeMosaic's syntax trees, by name. ZeMosaic's own lines, which a patch shows around its changes, come from the checkout.
"""

from __future__ import annotations

import ast
import difflib
import io
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

from nanstack.io.files import complete_file
from zemosaic_patch import installed_version
from zemosaic_patch.dropin import sources
from zemosaic_patch.dropin.checkout import NotPatchableError, RefusedError, open_checkout
from zemosaic_patch.dropin.sources import ALIGN, GPU, MODULES, WORKER, AnchorError, Source

TEXTS = "zemosaic_patch.dropin.maintainer"
NEEDED = "it relies on what ZeMosaic 4.3.1 brought,"
TESTS = "tests/test_phase3_nan_safe.py"  # in ZeMosaic


@dataclass(frozen=True)
class Edit:
    """Text that takes the place of what lies between two offsets of a file."""

    start: int
    end: int
    text: str


def export(folder: str | Path, output: Path, commit: str | None = None) -> str:
    """Write the patch for a ZeMosaic.

    Parameters
    ----------
    folder : path
        Nothing in it is changed.
    output : Path
        The file to write, or to replace.
    commit : str, optional
        Take this commit's files from the folder's Git repository; by default the files that lie in the folder.

    Returns
    -------
    str
        What was written.

    Raises
    ------
    NotPatchableError
        For what is no ZeMosaic, a commit that is not there, or a version in which a place is not found.
    RefusedError
        Where the folder's files are patched already, or Git cannot be run.
    OSError
        Where `output` cannot be written.
    """
    modules = _of_folder(folder) if commit is None else _of_commit(Path(folder), commit)
    origin = f"ZeMosaic {sources.version_of(Path(folder))}" if commit is None else f"ZeMosaic's commit {commit}"
    try:
        text = patch_text(modules, origin)
    except AnchorError as error:
        raise NotPatchableError(f"there is no such patch for {origin} in {folder}: {error}") from error
    with complete_file(output) as temporary:
        temporary.write_bytes(text)
    return f"written: {output}; to try it, in ZeMosaic's folder: git apply --check {output.resolve()}"


def _of_folder(folder: str | Path) -> dict[str, Source]:
    read = open_checkout(folder).sources
    if any(source.patched for source in read.values()):
        raise RefusedError(
            f"{folder} is patched already: name a commit with --for, or run `zemosaic-patch revert {folder}` first"
        )
    return read


def _of_commit(folder: Path, commit: str) -> dict[str, Source]:
    if not folder.is_dir():
        raise NotPatchableError(f"{folder} is not there: name the folder of ZeMosaic's Git repository")
    return {name: Source(name, _git_file(folder, commit, name)) for name in MODULES}


def _git_file(folder: Path, commit: str, name: str) -> bytes:
    command = ["git", "-C", str(folder), "cat-file", "blob", f"{commit}:{name}"]
    try:
        run = subprocess.run(command, capture_output=True, check=False)
    except OSError as error:
        raise RefusedError(f"Git cannot be run ({error}): install it, or leave --for out") from error
    if run.returncode:
        said = run.stderr.decode(errors="replace").strip().splitlines()[-1:] or ["Git does not say why"]
        raise NotPatchableError(f"{folder} has no {name} of a commit {commit}: {said[0]}")
    return run.stdout


# ------------------------------------------------------------------------------------------------------ the patch


def patch_text(modules: dict[str, Source], origin: str) -> bytes:
    """Return the patch for ZeMosaic's four modules; `origin` says in it what they are of.

    Raises
    ------
    AnchorError
        Where a place is not found, or what the patch relies on is not there.
    """
    plain = {name: Source(name, source.data.replace(b"\r\n", b"\n")) for name, source in modules.items()}
    _require_what_4_3_1_brought(plain)
    about = _text("about.txt").format(version=installed_version(), origin=origin)
    changes = (_difference(plain[name], edits(plain[name])) for name, edits in EDITS.items())
    return "".join([about, *changes, _new_file(TESTS, _text("tests.txt"))]).encode()


def _require_what_4_3_1_brought(modules: dict[str, Source]) -> None:
    fill = sources.nan_fill(modules[WORKER])
    if not sources.spares_winsorized(fill.test):
        raise AnchorError(f"{NEEDED} the frames of winsorized tiles not being filled ({WORKER}:{fill.lineno})")
    stacker = modules[ALIGN].required("stack_winsorized_sigma_clip")
    if not sources.guards_external_stack(stacker):
        raise AnchorError(f"{NEEDED} an external stack being given complete frames alone ({ALIGN}:{stacker.lineno})")


def _text(name: str) -> str:
    return resources.files(TEXTS).joinpath(name).read_text(encoding="utf-8")


def _difference(source: Source, edits: list[Edit]) -> str:
    """Return the unified diff of a file; only line feeds end its lines, as Git has it."""
    parts, at = [], 0
    for edit in sorted(edits, key=lambda one: one.start):
        parts += [source.data[at : edit.start], edit.text.encode()]
        at = edit.end
    after = b"".join([*parts, source.data[at:]])
    before, after = (io.StringIO(data.decode("utf-8"), newline="\n").readlines() for data in (source.data, after))
    name = source.name
    lines = difflib.unified_diff(before, after, f"a/{name}", f"b/{name}")
    ended = (line if line.endswith("\n") else f"{line}\n\\ No newline at end of file\n" for line in lines)
    return "".join([f"diff --git a/{name} b/{name}\n", *ended])


def _new_file(name: str, text: str) -> str:
    lines = text.splitlines()
    head = [f"diff --git a/{name} b/{name}", "new file mode 100644", "--- /dev/null", f"+++ b/{name}"]
    return "\n".join([*head, f"@@ -0,0 +1,{len(lines)} @@", *(f"+{line}" for line in lines), ""])


# ------------------------------------------------------------------------------------------------------ its places


def _worker_edits(source: Source) -> list[Edit]:
    """Let winsorized groups keep their masks, and match the sky of their frames before the stack."""
    function = source.required("create_master_tile")
    flags = [node for node in ast.walk(function) if isinstance(node, ast.Assign) and _is(node, "winsorized_reject")]
    if not flags:
        raise AnchorError(f"{source.name}: create_master_tile has no winsorized_reject")
    decision, fill = sources.propagate_decision(source).value, sources.nan_fill(source)
    return [*_decision_edits(source, decision), _sky_edit(source, fill)]


def _is(assignment: ast.Assign, name: str) -> bool:
    return [ast.unparse(target) for target in assignment.targets] == [name]


def _decision_edits(source: Source, decision: ast.expr) -> list[Edit]:
    if "winsorized_reject" in {node.id for node in ast.walk(decision) if isinstance(node, ast.Name)}:
        return []
    inner = decision.args[0] if isinstance(decision, ast.Call) and len(decision.args) == 1 else decision
    text = f"bool(\n        winsorized_reject or ({ast.unparse(inner)})\n    )"
    return [Edit(source.start(decision), source.end(decision), text)]


def _sky_edit(source: Source, fill: ast.If) -> Edit:
    lines = (
        "",
        "",
        "# Frames of different sky level make a step wherever one of them ends.",
        "if winsorized_reject:",
        f"    zemosaic_align_stack._match_sky_offsets({sources.filled_frames(source, fill)})",
    )
    text = "\n".join(" " * fill.col_offset + line if line else line for line in lines)
    return Edit(source.end(fill), source.end(fill), text)


def _align_edits(source: Source) -> list[Edit]:
    """Make the quantiles NaN-aware, and the alignment tell what has data."""
    align, winsorize = source.required("align_images_in_group"), source.required("_winsorize_block_numpy")
    ours = _functions("align_stack.py")
    register = _only(align, source, "assignment of astroalign.register(propagate_mask=...)", _registers)
    shift = _only(align, source, "assignment of try_fft", lambda node: _is(node, "try_fft"))
    indent = " " * shift.col_offset
    registers = [
        "# What a shift by whole pixels rolls in would look like data.",
        "try_fft = not propagate_mask",
        f"register = _register_nan_safe if propagate_mask else {ast.unparse(register.value.func)}",
    ]
    called = register.value.func
    return [
        Edit(
            source.start(winsorize),
            source.end(winsorize),
            "\n\n\n".join(ours[name] for name in ("_nan_quantiles", "_winsorize_block_numpy")),
        ),
        Edit(
            source.start(align),
            source.start(align),
            "".join(ours[name] + "\n\n\n" for name in ("_register_nan_safe", "_match_sky_offsets")),
        ),
        Edit(source.start(shift), source.end(shift), f"\n{indent}".join(registers)),
        Edit(source.start(called), source.end(called), "register"),
    ]


def _registers(node: ast.Assign) -> bool:
    call = node.value
    return (
        isinstance(call, ast.Call)
        and ast.unparse(call.func) == "astroalign_module.register"
        and "propagate_mask" in {keyword.arg for keyword in call.keywords}
    )


def _gpu_edits(source: Source) -> list[Edit]:
    """Make the quantiles NaN-aware."""
    winsorize = source.required("_winsorize_chunk")
    if not any(isinstance(node, ast.alias) and node.asname == "_zas" for node in ast.walk(source.tree)):
        raise AnchorError(f"{source.name} does not import zemosaic_align_stack as _zas")
    ours = _functions("align_stack_gpu.py")["_winsorize_chunk"]
    return [Edit(source.start(winsorize), source.end(winsorize), ours)]


def _only(function: ast.AST, source: Source, what: str, wanted: Callable[[ast.Assign], bool]) -> ast.Assign:
    found = [node for node in ast.walk(function) if isinstance(node, ast.Assign) and wanted(node)]
    if len(found) != 1:
        raise AnchorError(f"{source.name}: {function.name} has {len(found) or 'no'} {what}")
    return found[0]


def _functions(name: str) -> dict[str, str]:
    """Return the text of each function of ours that goes into ZeMosaic."""
    source = Source(name, _text(name).encode())
    found = [node for node in source.tree.body if isinstance(node, ast.FunctionDef)]
    return {node.name: source.data[source.start(node) : source.end(node)].decode() for node in found}


EDITS = {WORKER: _worker_edits, ALIGN: _align_edits, GPU: _gpu_edits}
