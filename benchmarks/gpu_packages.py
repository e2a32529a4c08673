# SPDX-License-Identifier: GPL-3.0-or-later
"""The packages that the GPU check needs: download the small ones, and install what a machine lacks.

usage: python benchmarks/gpu_packages.py VERSION [VERSION ...]

Fills the folder gpu-wheels with the small packages for these versions of Python (3.12, say) on Linux x86-64, for a
machine with a GPU and without a network. NumPy, SciPy, Numba, OpenCV and CuPy are large, and are expected there. Needs
nothing but Python and pip.
"""

from __future__ import annotations

import importlib
import importlib.util
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
WHEELS = ROOT / "gpu-wheels"
VERSION = f"{sys.version_info.major}.{sys.version_info.minor}"
SITE = ROOT / "build" / f"gpu-site-{VERSION}"  # what this Python lacks is installed here, and nowhere else
MOST_BYTES = 60 * 10**6  # of all wheels together
PLATFORMS = ("manylinux_2_28", "manylinux_2_17", "manylinux2014", "manylinux2010")  # pip matches each by its name
INSTALL_S = 60.0  # for all packages
LARGE = "it is large, and was expected to be there"


@dataclass(frozen=True)
class Package:
    """A package by its name for pip, and the module by which it is known to be there."""

    name: str
    module: str
    small: bool = True


PACKAGES = (
    Package("numpy", "numpy", small=False),
    Package("scipy", "scipy", small=False),
    Package("numba", "numba", small=False),
    Package("llvmlite", "llvmlite", small=False),
    Package("opencv-python-headless", "cv2", small=False),
    Package("pillow", "PIL", small=False),
    Package("astropy", "astropy"),
    Package("astropy-iers-data", "astropy_iers_data"),
    Package("pyerfa", "erfa"),
    Package("pyyaml", "yaml"),
    Package("packaging", "packaging"),
    Package("sep", "sep"),
    Package("tqdm", "tqdm"),
    Package("psutil", "psutil"),
    Package("jinja2", "jinja2"),
    Package("markupsafe", "markupsafe"),
    Package("tomli-w", "tomli_w"),
    Package("pytest", "pytest"),
    Package("pytest-xdist", "xdist"),
    Package("pytest-reportlog", "pytest_reportlog"),
    Package("execnet", "execnet"),
    Package("iniconfig", "iniconfig"),
    Package("pluggy", "pluggy"),
    Package("pygments", "pygments"),
    Package("hypothesis", "hypothesis"),
    Package("sortedcontainers", "sortedcontainers"),
    Package("tomli", "tomli"),  # of Python 3.10, as the next
    Package("exceptiongroup", "exceptiongroup"),
    Package("typing-extensions", "typing_extensions"),
)
OF_OLD_PYTHON = ("tomli", "exceptiongroup", "typing-extensions")


def download(version: str) -> None:
    """Put the small packages for a version of Python into the folder of wheels.

    Raises
    ------
    subprocess.CalledProcessError
        Where pip fails; it has said why.
    """
    platforms = [word for name in PLATFORMS for word in ("--platform", f"{name}_x86_64")]
    names = [package.name for package in needed(version) if package.small]
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps"]
    command += ["--only-binary=:all:", "--implementation", "cp", "--python-version", version, *platforms]
    subprocess.run([*command, "--dest", str(WHEELS), *names], check=True)


def needed(version: str) -> list[Package]:
    """Return the packages that a version of Python needs."""
    old = tuple(map(int, version.split("."))) < (3, 11)
    return [package for package in PACKAGES if old or package.name not in OF_OLD_PYTHON]


def missing() -> list[Package]:
    """Return the packages that this Python lacks, with what was installed for it here."""
    if str(SITE) not in sys.path:
        sys.path.append(str(SITE))
    importlib.invalidate_caches()
    return [package for package in needed(VERSION) if importlib.util.find_spec(package.module) is None]


def install(packages: Sequence[Package]) -> dict[str, str]:
    """Install packages into a folder of their own: what is there already stays as it is, its NumPy above all.

    From the folder of wheels where it is there, the small ones without asking a network; else from the network. All at
    once, since pip takes long to start; one by one where that fails.

    Returns
    -------
    dict of str to str
        The packages that could not be installed, and why.
    """
    reasons = {package.name: LARGE for package in packages if WHEELS.is_dir() and not package.small}
    names = [package.name for package in packages if package.name not in reasons]
    source = ["--no-index", "--find-links", str(WHEELS)] if WHEELS.is_dir() else ["--retries", "0", "--timeout", "10"]
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps"]
    command += [*source, "--no-cache-dir", "--no-compile", "--upgrade", "--target", str(SITE)]
    deadline = time.monotonic() + INSTALL_S
    if names and _failure([*command, *names], deadline):
        reasons |= {name: _failure([*command, name], deadline) for name in names}
    return {name: reason for name, reason in reasons.items() if reason}


def _failure(command: list[str], deadline: float) -> str:
    """Run pip; return what it complains of, or nothing."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=max(0.1, deadline - time.monotonic()))
    except subprocess.TimeoutExpired:
        return f"there was no time left: all packages have {INSTALL_S:g} s"
    errors = [line for line in done.stderr.splitlines() if line.startswith("ERROR")]
    return "" if done.returncode == 0 else (errors[-1] if errors else f"pip ended with {done.returncode}")


def main() -> int:
    versions = sys.argv[1:]
    if not versions or not all(version.replace(".", "").isdigit() for version in versions):
        print("usage: python benchmarks/gpu_packages.py VERSION [VERSION ...], where VERSION is 3.12, say")
        return 2
    for version in versions:
        try:
            download(version)
        except subprocess.CalledProcessError as failed:
            print(f"pip could not download the packages for Python {version}", file=sys.stderr)
            return failed.returncode
    size = sum(file.stat().st_size for file in WHEELS.glob("*.whl"))
    print(f"{WHEELS.name}: {size / 1e6:.1f} MB for Python {', '.join(versions)}")
    if size > MOST_BYTES:
        print(f"more than {MOST_BYTES / 1e6:g} MB: name fewer versions of Python, or empty the folder", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
