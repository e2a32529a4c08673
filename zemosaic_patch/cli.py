# SPDX-License-Identifier: GPL-3.0-or-later
"""The command line: mosaic, tile, demo, report, info; for a ZeMosaic check, apply, revert, verify, export.

Exit codes: 0 done; 1 failed (frames that cannot be read or aligned, output that cannot be written); 2 usage (wrong
arguments, no frames where they should be, output that exists); 130 stopped by Ctrl-C.
"""

from __future__ import annotations

import argparse
import errno
import io
import json
import logging
import os
import re
import sys
from collections.abc import Sequence
from typing import NoReturn

from zemosaic_patch import commands, installed_version, process
from zemosaic_patch.errors import STOPPED, FailureError, UsageError
from zemosaic_patch.signals import leaving, leaving_on_signals

NO_MEMORY = "there is not enough memory: close other programs, or use smaller frames"
REASONS = {  # what the system's words leave out
    errno.ENOMEM: NO_MEMORY,
    errno.ENOSPC: "the disk is full: make room where the output goes, or name another folder with -o",
    errno.EFBIG: "the result is larger than a file may be where the output goes (4 GiB on FAT32; see ulimit -f): "
    "name another folder with -o",
}
ENCODING = "PYTHONIOENCODING"
NO_QUOTES = os.name == "nt"  # in names
NUMBERS = re.compile(r"-[\d.][^,]*(?:,[^,]*)+")
NOT_ALLOWED = (errno.EACCES, errno.EPERM, errno.EROFS)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; return the exit code.

    Parameters
    ----------
    arguments : sequence of str, optional
        By default those of this process, which is then the command's own.
    """
    own = arguments is None
    try:
        with leaving_on_signals(own):
            try:
                if own:
                    arguments = sys.argv[1:]
                    process.begin(arguments)
                _prepare_messages(own)
                code, fault = _run(list(arguments))
            except KeyboardInterrupt as stopped:
                told = str(stopped)  # what became of the output
                code, fault = 130, f"{STOPPED}; {told}" if told else STOPPED
            if fault:
                _complain(str(fault), arguments or ())
            return code
    finally:
        if own:
            leaving()


class Parser(argparse.ArgumentParser):
    """Says what is wrong in one line, and where the options are listed, not all of them."""

    def error(self, message: str) -> NoReturn:
        """Raise UsageError."""
        raise UsageError(f"{message} (see {self.prog} --help)")


def _prepare_messages(own: bool) -> None:
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # a notebook's is none, and a program without a console has none
            stream.reconfigure(errors="backslashreplace")  # a file's name may hold what the screen cannot show
            if own and not stream.isatty() and ENCODING not in os.environ:
                stream.reconfigure(encoding="utf-8")  # in a file, or for a program: Windows would have its code page
    logging.basicConfig(format="%(message)s", level=logging.WARNING)
    logging.getLogger("nanstack").setLevel(logging.INFO)


def _parser(words: Sequence[str]) -> Parser:
    """Return the parser of a command line; the options of the command that it names, alone, are loaded."""
    parser = Parser(
        prog="zemosaic-patch",
        description="Mosaics and master tiles without coloured rims, and the patch that gives them to ZeMosaic.",
        epilog="Exit codes: 0 done, 1 failed, 2 wrong usage, 130 stopped by Ctrl-C.",
    )
    parser.add_argument("--version", action="version", version=f"zemosaic-patch {installed_version()}")
    known = parser.add_subparsers(required=True, metavar="COMMAND")
    for name, text in commands.TOLD.items():
        own = known.add_parser(name, help=text)
        if name in words:
            _give_options(own, name)
    return parser


def _give_options(parser: Parser, name: str) -> None:
    from zemosaic_patch.arguments import add_options

    add_options(parser, commands.load(name))


def _run(words: Sequence[str]) -> tuple[int, object]:
    """Run a command; return the exit code, and what is wrong, if anything."""
    try:
        _check_words(words)
        words = _with_marks(words)
        parser = _parser(words)
        parsed, unknown = _parsed(parser, words)
        from zemosaic_patch.arguments import config_defaults, read

        if unknown:
            parsed.parser.error(f"unknown option or argument: {' '.join(unknown)}")
        if getattr(parsed, "config", None) is not None:
            parsed.parser.set_defaults(**config_defaults(parsed.config, parsed.command, parsed.parser))
            parsed = parser.parse_args(words)
        code = parsed.command.run(*(read(group, parsed) for group in parsed.command.groups))
    except UsageError as error:
        return 2, error
    except BrokenPipeError:  # nobody reads on, as after `| head`: what was asked for is done
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # nor at the end of the program
        return 1, None
    except (FailureError, OSError) as error:
        return 1, _reason(error)
    except MemoryError:
        return 1, NO_MEMORY
    except RuntimeError as error:
        if "can't start new thread" not in str(error):  # Python's word for no memory, too: for the thread's stack
            raise
        return 1, NO_MEMORY
    except ImportError as error:
        return 1, f"a library cannot be loaded ({error}): install this program anew, as its README says"
    return code or 0, None


def _check_words(words: Sequence[str]) -> None:
    """Refuse what a shell makes of a variable that is not set, and Windows of a folder's last backslash in quotes."""
    if "" in words:  # as a folder it would be the current one
        raise UsageError("one of the names or values is empty (a variable that is not set?): write it out")
    quoted = next((word for word in words if NO_QUOTES and '"' in word), None)
    if quoted is not None:
        raise UsageError(f'{quoted} holds a quotation mark: leave out the backslash before it, as in "D:\\M 31"')


def _with_marks(words: Sequence[str]) -> list[str]:
    """Return words with numbers such as '-5,3,8,2', which look like an option, joined to the one before them."""
    joined: list[str] = []
    for word in words:
        if NUMBERS.fullmatch(word) and joined and joined[-1].startswith("--") and "=" not in joined[-1]:
            joined[-1] += f"={word}"
        else:
            joined.append(word)
    return joined


def _parsed(parser: Parser, words: Sequence[str]) -> tuple[argparse.Namespace, list[str]]:
    """Return what words mean, and those that mean nothing; one that is nearly an option's name is named first."""
    try:
        parsed, unknown = parser.parse_known_args(words)
    except UsageError:
        _check_spelling(words)
        raise
    if unknown:
        _check_spelling(words)
    return parsed, unknown


def _check_spelling(words: Sequence[str]) -> None:
    name = next((word for word in words if word in commands.TOLD), None)
    if name is not None:
        from zemosaic_patch.arguments import check_spelling

        check_spelling(words, commands.load(name))


def _reason(error: Exception) -> object:
    """Return what the system's words leave out; astropy tells of a full disk in words of its own, without a number."""
    if not isinstance(error, OSError):
        return error
    from nanstack.io.files import is_in_use

    number = error.errno
    if number is None and "Not enough space" in str(error):
        number = errno.ENOSPC
    place = "" if error.filename is None else f"{error.filename}: "
    if is_in_use(error):
        return (
            f"{place}{error.strerror}: close the program that has it open, see who may read and write there, or name "
            "another folder"
        )
    if number in NOT_ALLOWED:
        return f"{place}{error.strerror}: see who may read and write there, or name another folder"
    return REASONS.get(number) or (f"{place}{error.strerror}" if error.strerror else error)


def _complain(fault: str, words: Sequence[str]) -> None:
    """Say what is wrong in a line, whatever is in the names and values that it holds, as a command line asks for it."""
    from nanstack.io.one_line import on_one_line

    told = on_one_line(fault)
    print(json.dumps({"error": told}) if _for_programs(words) else f"zemosaic-patch: {told}", file=sys.stderr)


def _for_programs(words: Sequence[str]) -> bool:
    """Tell whether a command line, which may be wrong otherwise, asks for lines of JSON."""
    parser = Parser(add_help=False)
    parser.add_argument("--progress")
    try:
        return parser.parse_known_args(list(words))[0].progress == "json"
    except UsageError:  # it does not say how
        return False


if __name__ == "__main__":
    sys.exit(main())
