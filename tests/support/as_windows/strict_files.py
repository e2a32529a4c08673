# SPDX-License-Identifier: GPL-3.0-or-later
"""Files as strict as those of Windows, on Linux with Python 3.11 or newer.

So are those of `pytest --as-windows`, and of any program that has this folder on its PYTHONPATH.

What is open or mapped, in any process, is neither removed, renamed, replaced nor cut; nor is what is read-only removed
or replaced, nor a folder in which anything of that lies, or which is some process's current one. A rename replaces
nothing. Names that Windows refuses are refused. Text is read and written as cp1252 where nobody says.
"""

import builtins
import contextlib
import errno
import functools
import io
import os
import shutil
import stat
import sys

NAMES = {"con", "prn", "aux", "nul", *(f"{port}{number}" for port in ("com", "lpt") for number in range(1, 10))}
LOCK = ".lock"  # ends the names of those that POSIX alone removes before they are closed
IN_USE, DENIED, NO_NAME, MAPPED = 32, 5, 123, 1224
_real = {name: getattr(os, name) for name in ("open", "replace", "rename", "unlink", "rmdir", "mkdir")}
_open = io.open


def refusal(path, winerror, text):
    """Return the error that Windows has for a path, with its number."""
    made = OSError(errno.EINVAL if winerror in (NO_NAME, MAPPED) else errno.EACCES, text, os.fspath(path))
    made.winerror = winerror
    return made


def held():
    """Return the paths that processes have open or mapped, and those that are their current folders."""
    found = set()
    for process in filter(str.isdigit, os.listdir("/proc")):
        with contextlib.suppress(OSError):  # it has ended, or is another user's
            found.add(os.readlink(f"/proc/{process}/cwd"))
            with os.scandir(f"/proc/{process}/fd") as files:
                for file in files:
                    with contextlib.suppress(OSError):
                        found.add(os.readlink(file.path))
        found |= mapped(process)
    return found


def mapped(process="self"):
    """Return the paths of files that a process has mapped, programs and libraries apart."""
    with contextlib.suppress(OSError), _open(f"/proc/{process}/maps", encoding="utf-8", errors="replace") as file:
        parts = (line.rstrip("\n").split(maxsplit=5) for line in file)
        return {part[5] for part in parts if len(part) == 6 and part[5].startswith("/") and "x" not in part[1]}
    return set()


def check_free(path, dir_fd=None):
    """Refuse what Windows would not have removed, renamed or replaced."""
    if dir_fd is not None or not os.path.lexists(path):
        return
    whole = os.path.join(os.path.realpath(os.path.dirname(os.path.abspath(path))), os.path.basename(path))
    if whole.endswith(LOCK):
        return
    if any(one == whole or one.startswith(f"{whole}/") for one in held()):
        raise refusal(path, IN_USE, "The process cannot access the file because it is being used by another process")


def check_writable(path):
    """Refuse what is marked read-only."""
    with contextlib.suppress(FileNotFoundError):
        known = os.lstat(path)
        if stat.S_ISREG(known.st_mode) and not known.st_mode & stat.S_IWUSR:
            raise refusal(path, DENIED, "Access is denied")


def check_name(path):
    """Refuse names that no file of Windows has."""
    if isinstance(path, int):
        return
    for part in os.fsdecode(path).split("/"):
        if part.partition(".")[0].lower() in NAMES or (part.endswith((".", " ")) and part not in (".", "..")):
            raise refusal(path, NO_NAME, "The filename, directory name, or volume label syntax is incorrect")
        if any(letter in '<>:"|?*\\' or letter < " " for letter in part):
            raise refusal(path, NO_NAME, "The filename, directory name, or volume label syntax is incorrect")


def _replace(source, target, **how):
    check_name(target)
    check_free(source)
    check_free(target)
    check_writable(target)
    return _real["replace"](source, target, **how)


def _rename(source, target, **how):
    if os.path.lexists(target) and not os.path.samefile(source, target):
        raise FileExistsError(errno.EEXIST, "Cannot create a file when that file already exists", os.fspath(target))
    return _replace(source, target, **how)


def _unlink(path, *, dir_fd=None):
    check_free(path, dir_fd)
    check_writable(path)
    return _real["unlink"](path, dir_fd=dir_fd)


def _rmdir(path, *, dir_fd=None):
    check_free(path, dir_fd)
    return _real["rmdir"](path, dir_fd=dir_fd)


def _mkdir(path, mode=0o777, *, dir_fd=None):
    check_name(path)
    return _real["mkdir"](path, mode, dir_fd=dir_fd)


def _check_opened(path, cuts, creates):
    if isinstance(path, int) or os.fspath(path) == os.devnull:
        return
    if creates:
        check_name(path)
    if cuts and os.path.realpath(path) in mapped():
        raise refusal(path, MAPPED, "The requested operation cannot be performed on a file with a user-mapped section")


def _os_open(path, flags, mode=0o777, *, dir_fd=None):
    _check_opened(path, flags & os.O_TRUNC, flags & os.O_CREAT)
    return _real["open"](path, flags, mode, dir_fd=dir_fd)


@functools.wraps(_open)
def _io_open(file, mode="r", buffering=-1, encoding=None, *more, **how):
    _check_opened(file, "w" in mode, not set(mode).isdisjoint("wax"))
    if "b" not in mode and encoding in (None, "locale"):
        encoding = "cp1252"
    return _open(file, mode, buffering, encoding, *more, **how)


STRICT = {  # of the module os
    "open": _os_open, "replace": _replace, "rename": _rename, "unlink": _unlink, "remove": _unlink, "rmdir": _rmdir,
    "mkdir": _mkdir,
}  # fmt: skip


def can_be():
    """Tell whether files can be made so strict here: `pathlib` before 3.11 has functions of its own, of before."""
    return sys.platform == "linux" and sys.version_info >= (3, 11)


def refuses_marks():
    """Tell whether names such as '<b>' are refused here."""
    return os.name == "nt" or os.mkdir is _mkdir


def install(put=setattr):
    """Have this process's files be as strict as those of Windows.

    Parameters
    ----------
    put : callable
        ``put(module, name, value)``, such as pytest's ``monkeypatch.setattr``.
    """
    for name, function in STRICT.items():
        put(os, name, function)
    for module in (io, builtins):
        put(module, "open", _io_open)
    put(shutil, "_use_fd_functions", False)  # it names each file by its whole path, as on Windows
