# SPDX-License-Identifier: GPL-3.0-or-later
"""What the program says comes to the window in its owner's language: each sentence in the source has words for it."""

import ast
import itertools
import re
from pathlib import Path
from string import Formatter

import pytest

import zemosaic_patch
from nanstack.io.finding import FoundFiles
from nanstack.register.exposures import Misled
from nanstack.survey.selection import told
from zemosaic_patch.ui import texts
from zemosaic_patch.ui.said import PUT_IN, said, sentences
from zemosaic_patch.ui.settings import behind_more

ROOT = Path(zemosaic_patch.__file__).parents[1]
# What speaks to the window: what is in each that does not, by the names of functions, classes and constants
SPEAKING = {
    "nanstack/canvas.py": {"coarser"},
    "nanstack/comet.py": {"__post_init__"},
    "nanstack/comet_stack.py": set(),
    "nanstack/going_on.py": set(),
    "nanstack/io/bayer.py": {"debayer"},
    "nanstack/io/files.py": set(),
    "nanstack/io/finding.py": {"SYSTEM_FOLDERS"},
    "nanstack/io/frames.py": set(),
    "nanstack/io/layout.py": set(),
    "nanstack/kept_solution.py": set(),
    "nanstack/levels/flux.py": set(),
    "nanstack/register/exposures.py": set(),
    "nanstack/register/field.py": set(),
    "nanstack/register/solution.py": set(),
    "nanstack/register/verdicts.py": set(),
    "nanstack/session.py": {"Recall"},
    "nanstack/sky_stack.py": {"stack_on_canvas", "stack_files"},
    "nanstack/solution_file.py": set(),
    "nanstack/stack/cells.py": set(),
    "nanstack/stack/rows.py": {"open_all"},
    "nanstack/survey/facts.py": {"KIND_NAMES", "STACK_NAME"},
    "nanstack/survey/selection.py": set(),
    "nanstack/survey/store.py": {"_by_crew"},
    "nanstack/survey/survey.py": set(),
    "zemosaic_patch/asked.py": set(),
    "zemosaic_patch/cautions.py": set(),
    "zemosaic_patch/chosen.py": set(),
    "zemosaic_patch/cli.py": {"_parser", "Parser", "_check_words"},
    "zemosaic_patch/comet_run.py": {"MOVED", "COMPOSITE", "written", "_cards"},
    "zemosaic_patch/commands/mosaic.py": {"_check_purpose", "COMMANDS"},
    "zemosaic_patch/commands/output.py": set(),
    "zemosaic_patch/dropin/checkout.py": set(),
    "zemosaic_patch/dropin/engine.py": set(),
    "zemosaic_patch/dropin/installation.py": set(),
    "zemosaic_patch/dropin/manifest.py": set(),
    "zemosaic_patch/dropin/originals.py": set(),
    "zemosaic_patch/dropin/patch.py": {"_dry_run"},
    "zemosaic_patch/dropin/recovery.py": {"OUR_LINES"},
    "zemosaic_patch/dropin/sources.py": {"KEPT", "_block"},
    "zemosaic_patch/dropin/verdict.py": {"LEGEND", "lines", "_of", "_age"},
    "zemosaic_patch/dropin/verify.py": {"_drawn"},
    "zemosaic_patch/given.py": set(),
    "zemosaic_patch/hips/folder.py": set(),
    "zemosaic_patch/hips/grid.py": {"on_the_grid"},
    "zemosaic_patch/hips/tiles.py": set(),
    "zemosaic_patch/lost_files.py": set(),
    "zemosaic_patch/mosaic_run.py": set(),
    "zemosaic_patch/options/mosaic.py": {"JoinOptions"},
    "zemosaic_patch/options/runs.py": set(),
    "zemosaic_patch/options/stack.py": set(),
    "zemosaic_patch/outputs.py": {"ABOUT"},
    "zemosaic_patch/picture_files.py": {"read_rows", "_png_rows", "_packed", "_inflated", "_tiff_rows", "_stored"},
    "zemosaic_patch/report/canvas.py": set(),
    "zemosaic_patch/report/comet.py": set(),
    "zemosaic_patch/report/pixels.py": set(),
    "zemosaic_patch/report/registration.py": set(),
    "zemosaic_patch/report/stack.py": set(),
    "zemosaic_patch/sky_words.py": {"_tilt", "_bowl", "sentences"},
    "zemosaic_patch/solve/answers.py": set(),
    "zemosaic_patch/solve/astap.py": set(),
    "zemosaic_patch/solve/kept.py": {"_read_kept", "_check_line"},
    "zemosaic_patch/solve/placing.py": set(),
    "zemosaic_patch/solve/programs.py": set(),
    "zemosaic_patch/solve/running.py": set(),
    "zemosaic_patch/stack_run.py": {"_cards"},
}  # fmt: skip


def forms(node):
    """Return the ways in which a string may come out, with {} for what is put in."""
    if isinstance(node, ast.Constant):
        return [node.value if isinstance(node.value, str) else "{}"]
    if isinstance(node, ast.JoinedStr):
        return ["".join(parts) for parts in itertools.product(*map(forms, node.values))]
    if isinstance(node, ast.FormattedValue):
        is_words = isinstance(node.value, (ast.JoinedStr, ast.IfExp))
        return forms(node.value) if is_words else ["{}"]
    if isinstance(node, ast.IfExp):
        return [*forms(node.body), *forms(node.orelse)]
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
        return ["".join(parts) for parts in itertools.product(forms(node.left), forms(node.right))]
    return ["{}"]


def spoken(node, silent):
    """Yield all strings in a source, without docstrings and without what does not speak."""
    names = {getattr(one, "id", "") for one in getattr(node, "targets", ())} | {getattr(node, "name", "")}
    if names & silent:
        return
    if isinstance(node, (ast.JoinedStr, ast.Constant, ast.BinOp)) and any(map(is_sentence, forms(node))):
        yield from filter(is_sentence, forms(node))
        if isinstance(node, ast.Constant):
            return
    is_docstring = isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
    if isinstance(node, (ast.JoinedStr, ast.BinOp)):
        return
    for inner in () if is_docstring else ast.iter_child_nodes(node):
        yield from spoken(inner, silent)


def is_sentence(form):
    """Tell whether a string is words for a reader: two at least."""
    return isinstance(form, str) and " " in form and len(re.findall(r"(?<![\w{])[A-Za-z'-]{2,}(?![\w}(])", form)) > 1


def of_source(name):
    tree = ast.parse((ROOT / name).read_text(encoding="utf-8"))
    return list(dict.fromkeys(spoken(tree, SPEAKING[name])))


@pytest.fixture(autouse=True)
def as_it_was():
    yield
    texts.choose(texts.USUAL)


@pytest.mark.parametrize("code", texts.languages())
@pytest.mark.parametrize("name", SPEAKING)
def test_a_language_has_words_for_what_the_program_says(name, code):
    spoken_here = of_source(name)
    assert spoken_here
    there = {sentence.replace("{#}", "{}").replace("{-}", "{}") for sentence in sentences(code)}
    missing = [f'"{form}" = "..."' for form in spoken_here if form not in there]
    assert not missing, f"texts/{code}.toml lacks under [said]:\n" + "\n".join(missing)


@pytest.mark.parametrize("code", texts.languages())
def test_a_language_has_the_same_sentences_and_puts_in_what_there_is(code):
    own = sentences(code)
    assert set(own) == set(sentences(texts.USUAL))
    for sentence, instead in own.items():
        count = len(PUT_IN.findall(sentence))
        assert instead.format(*range(count)), sentence  # IndexError: more is asked for than is put in
        fields = [name for _, name, _, _ in Formatter().parse(instead) if name is not None]
        assert len(fields) == count if "" in fields else set(fields) <= set(map(str, range(count))), sentence


@pytest.mark.parametrize("code", sorted(set(texts.languages()) - {texts.USUAL}))
def test_nothing_is_left_in_english(code):
    english, own = texts.keys(texts.USUAL), texts.keys(code)
    untranslated = [key for key, words in own.items() if is_sentence(words) and words == english.get(key)]
    assert not untranslated, f"texts/{code}.toml says these as English does:\n" + "\n".join(untranslated)


@pytest.mark.parametrize("code", texts.languages())
def test_the_window_says_no_words_of_the_command_line(code):
    words = re.compile(
        r"--\w|pip install|zemosaic-patch (?:mosaic|apply|revert)|\bDIR\b|\bcommande?\b| -o\b|_sigma_clip"
    )
    wordy = {key: said_so for key, said_so in texts.keys(code).items() if words.search(said_so)}
    assert wordy == {}


def test_what_no_sentence_is_like_is_said_as_it_came():
    texts.choose("fr")
    for strange in ("", "{}", "{0} {x}", "nothing like it: {", "Light_M 1_10.0s_IRCUT.fit"):
        assert said(strange) == strange.replace(": ", " : ")


def test_sentences_within_sentences_are_said_too():
    texts.choose("fr")
    reasons = {f"Light_{n}_10.0s.fit": f"it is blurred: its stars are {n}.5 px wide, 2.1 px is usual" for n in range(7)}
    assert [said(line) for line in told(reasons)] == [
        "Light_0_10.0s.fit : elle est floue : ses étoiles ont 0,5 px de large, au lieu de 2,1 px d'ordinaire ; de même "
        "Light_1_10.0s.fit, Light_2_10.0s.fit, Light_3_10.0s.fit et 3 autres ; 7 écartées"
    ]
    misled = Misled((1, 2), header=10.0, like=2.0, others=7, others_header=10.0, smooth=1.0)
    assert said(str(misled)) == (
        "2 images brutes de 10 s : étoiles, ciel et bruit sont ceux d'une pose de 20 s, comparés à 7 de 10 s ; en-tête "
        "faux : empilées, et comptées, d'après ce qu'elles montrent"
    )


def test_what_lies_beside_frames_is_said():
    texts.choose("fr")
    foreign = tuple(map(Path, ("a.cr2", "b.cr2", "c.nef", "d.ser")))
    found = FoundFiles((), thumbnails=(Path("a.jpg"),) * 2, pictures=(Path("b.png"),), foreign=foreign)
    assert list(map(said, found.lines())) == [
        "non pris en compte : 2 vignettes et 1 image",
        "non pris en compte : 2 fichiers .cr2, 1 fichier .nef et 1 fichier .ser, qui ne sont pas lus ici ; "
        "enregistrez-les en FITS",
    ]


def test_ends_that_may_be_missing_are_known_by_their_beginning():
    texts.choose("fr")
    line = "3 frames of Seestar S50, 10 s: multiplied by 1.5 to match the 9 of Seestar S50, 20 s"
    doubt = "; their exposures say 2: clouds, or a header that is wrong"
    own = "3 images brutes de Seestar S50, 10 s : multipliées par 1,5 pour correspondre aux 9 de Seestar S50, 20 s"
    assert said(line) == own
    assert said(line + doubt) == own + " ; d'après leurs poses ce serait 2 : des nuages, ou un en-tête faux"


@pytest.mark.parametrize("code", sorted(set(texts.languages()) - {texts.USUAL}))
def test_what_options_take_and_mean_is_said(code):
    texts.choose(code)
    for _, option, _ in behind_more():
        assert said(option.text) != option.text
        if option.within is not None:
            assert said(option.takes) != option.takes


def test_numbers_have_the_marks_of_the_language():
    texts.choose("fr")
    assert said("12,345.6 px") == "12\u202f345,6 px"
    assert said("10 s, 20.5 s") == "10 s, 20,5 s"
    texts.choose("en")
    assert said("12,345.6 px") == "12,345.6 px"


def test_options_of_the_command_line_are_the_settings_of_the_page():
    texts.choose("fr")
    assert said("--pixfrac is for --drizzle SCALE") == "« Taille des gouttes (pixfrac) » : ce réglage va avec drizzle"
    assert said("--scale takes a number from 0.01 to 900, not 0.001") == (
        "« Échelle » prend un nombre de 0,01 à 900, et non 0,001"
    )
    assert said("--like /data/a.b.fits: there is no such file").startswith(
        "« Pixels d'une autre image » /data/a.b.fits : "
    )
    told = (
        "--resume cannot go on here: the mosaic was made with --weights sharp, no --drizzle; ask for the same again, "
    )
    told += "start again with --overwrite instead, or name another DIR"
    assert said(told) == (
        "ce traitement ne peut pas continuer : la mosaïque a été faite avec « Pondération » rapport signal/bruit et "
        "netteté, sans « Drizzle » ; créez une autre image"
    )
