# SPDX-License-Identifier: GPL-3.0-or-later
"""Fuzz the frame files' entry: whatever the bytes, a frame or FrameError comes out, soon and in little memory.

    pip install atheris
    python tests/fuzz/fuzz_frames.py -max_total_time=1200

Options are libFuzzer's. New inputs go to a temporary folder, unless folders are named; a crash is written to
`crash-...` in the current one. `tests/test_hostile_files.py` replays tests/corpus in the normal run.
"""

import os
import random
import sys
import tempfile
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["nanstack", "numpy.lib", "astropy.io.fits.hdu.compressed"]):
    from entry import SUFFIXES, one_input

CORPUS = Path(__file__).parents[1] / "corpus"
CARD = 80
VALUES = (
    "T", "F", "0", "1", "2", "3", "4", "8", "9", "-1", "16", "32", "-32", "64", "-64", "12", "24", "100", "30000",
    "2147483648", "9223372036854775807", "1E308", "NaN", "'NaN'", "''", "-0.0", "0.5", "'RGGB'", "'RA---TAN-SIP'",
    "'DEC--TAN-SIP'", "'RA---TAB'", "'GZIP_1'", "'GZIP_2'", "'RICE_1'", "'HCOMPRESS_1'", "'PLIO_1'", "'NOCOMPRESS'",
    "'1PB(9)'", "'1QJ(9)'", "'BINTABLE'", "'IMAGE'", "(1,2)",
)  # fmt: skip
NAMES = (
    "NAXIS", "NAXIS1", "NAXIS2", "NAXIS3", "BITPIX", "BSCALE", "BZERO", "BLANK", "PCOUNT", "GCOUNT", "GROUPS",
    "BAYERPAT", "XBAYROFF", "YBAYROFF", "CTYPE1", "CTYPE2", "CRVAL1", "CD1_1", "CD2_2", "CDELT1", "WCSAXES", "A_ORDER",
    "A_2_0", "AP_ORDER", "PV1_1", "LONPOLE", "ZIMAGE", "ZBITPIX", "ZNAXIS", "ZNAXIS1", "ZNAXIS2", "ZTILE1", "ZTILE2",
    "ZCMPTYPE", "ZNAME1", "ZVAL1", "ZVAL2", "ZSCALE", "ZZERO", "ZBLANK", "ZQUANTIZ", "ZDITHER0", "TFIELDS", "TFORM1",
    "TTYPE1", "THEAP", "XTENSION", "END",
)  # fmt: skip


def mutate(data, max_size, seed):
    """Change a card of a header, or some bytes in their place, or leave it to libFuzzer, which moves everything."""
    chance = random.Random(seed)
    starts = [at for at in range(1, len(data) - CARD, CARD) if data[at : at + 8].strip(b" ").isalnum()]
    if not data or not data[0] % len(SUFFIXES) or not starts or chance.random() < 0.05:
        return atheris.Mutate(data, max_size)
    if chance.random() < 0.6:
        at = chance.choice(starts)
        name = chance.choice(NAMES) if chance.random() < 0.4 else data[at : at + 8].decode("ascii", "replace").strip()
        card = f"{name[:8]:<8}= {chance.choice(VALUES):>20}"[:CARD].ljust(CARD).encode("ascii", "replace")
        return (data[:at] + card + data[at + CARD :])[:max_size]
    at = chance.randrange(1, len(data))
    changed = atheris.Mutate(data[at : at + 32], 32)[: len(data) - at]
    return (data[:at] + changed + data[at + len(changed) :])[:max_size]


def main():
    folders = [argument for argument in sys.argv[1:] if not argument.startswith("-")]
    options = [argument for argument in sys.argv[1:] if argument.startswith("-")]
    with tempfile.TemporaryDirectory(
        prefix="fuzz-frames-", dir="/dev/shm" if os.path.isdir("/dev/shm") else None
    ) as own:
        new = Path(own) / "new"
        new.mkdir()
        defaults = ["-max_len=40000", "-timeout=10", "-rss_limit_mb=1500", "-malloc_limit_mb=800"]
        arguments = [sys.argv[0], *defaults, *options, *(folders or [str(new)]), str(CORPUS)]
        atheris.Setup(arguments, lambda data: one_input(data, own), custom_mutator=mutate)
        atheris.Fuzz()


if __name__ == "__main__":
    main()
