# SPDX-License-Identifier: GPL-3.0-or-later
"""Files as a hostile world would leave them: each is refused in one line that names it, and the others go on."""

import gzip
import io
import json
import os
import pickle
import re
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits

import zemosaic_utils as utils
from nanstack.io.finding import find_frame_files
from nanstack.io.frames import FrameError, probe_frame, read_frame
from nanstack.memory import Scratch
from nanstack.stack.rows import OpenFiles, open_rows
from nanstack.truth.simulation import simulate_group
from tests.fuzz.entry import one_input
from tests.support.cached_groups import SHAPE as TILE_SHAPE
from tests.support.cached_groups import Listener, cached, make
from zemosaic_patch import cli, tile_files
from zemosaic_patch.report.page import ReportError, write_report
from zemosaic_patch.tile_files import read_tile

SHAPE = (200, 320)
CORPUS = sorted(path for path in (Path(__file__).parents[1] / "corpus").iterdir() if path.is_file())
posix = pytest.mark.skipif(os.name != "posix", reason="pipes, links and limits are those of POSIX")
linux = pytest.mark.skipif(sys.platform != "linux", reason="needs Linux: its /proc, /dev and limits")


def in_fits(hdu, *lies, size=None):
    """Return an HDU as a FITS file in which cards are replaced, and which is cut to a size."""
    stream = io.BytesIO()
    hdus = [hdu] if isinstance(hdu, fits.PrimaryHDU) else [fits.PrimaryHDU(), hdu]
    fits.HDUList(hdus).writeto(stream)
    data = stream.getvalue()
    start = 0 if len(hdus) == 1 else 2880
    for name, value in lies:
        at = data.index(f"{name:<8}=".encode(), start)
        data = data[:at] + f"{name:<8}= {value:>20}".ljust(80).encode() + data[at + 80 :]
    return data[:size]


def mono(*cards):
    hdu = fits.PrimaryHDU(np.arange(480, dtype=np.int16).reshape(20, 24))
    hdu.header["BSCALE"], hdu.header["BZERO"], hdu.header["BLANK"] = 2.0, 10.0, 7
    for name, value in cards:
        hdu.header[name] = value
    return hdu


def tiled(code="RICE_1"):
    shape = {"tile_shape": (20, 24)} if code == "HCOMPRESS_1" else {}
    return fits.CompImageHDU(np.arange(480, dtype=np.int16).reshape(20, 24), compression_type=code, **shape)


def in_npy(array, **options):
    stream = io.BytesIO()
    np.save(stream, array, **options)
    return stream.getvalue()


def npy_header(text, version=(1, 0)):
    size = len(text).to_bytes(2 if version == (1, 0) else 4, "little")
    return b"\x93NUMPY" + bytes(version) + size + text.encode() + bytes(64)


NUMBERS = np.ones((20, 24), np.float32)
ATTACKS = {  # name of the file: (its bytes, what is said)
    "empty.fits": (b"", "it is empty"),
    "empty.npy": (b"", "does not start like one"),
    "empty.fits.gz": (b"", "it is empty"),
    "magic.fits": (b"XIMPLE  =" + bytes(5000), "does not start like one"),
    "magic.npy": (b"\x93NUMPI" + bytes(200), "does not start like one"),
    "html.fits": (b"<!DOCTYPE html><html>404</html>", "does not start like one"),
    "header-cut.fits": (in_fits(mono(), size=1000), "truncated"),
    "header-without-end.fits": (b"SIMPLE  =                    T".ljust(80) * 40_000, "no end within"),
    "samples-cut.fits": (in_fits(mono(), size=3000), "truncated: its header promises 3840 bytes, the file has 3000"),
    "samples-cut.npy": (in_npy(NUMBERS)[:-1], "truncated"),
    "packed-cut.fits.gz": (gzip.compress(in_fits(mono()))[:-30], "damaged"),
    "packed-flipped.fits.gz": (gzip.compress(in_fits(mono()), 0)[:-8] + bytes(8), "CRC"),
    "naxis.fits": (in_fits(mono(), ("NAXIS", 1000)), "NAXIS is 1000"),
    "naxis-0.fits": (in_fits(mono(), ("NAXIS", 0)), "no image of two or three axes"),
    "naxis-text.fits": (in_fits(mono(), ("NAXIS1", "'24'")), "NAXIS1 is 24, not a whole number"),
    "naxis-negative.fits": (in_fits(mono(), ("NAXIS1", -24)), "its shape is (20, -24)"),
    "naxis-none.fits": (in_fits(mono(), ("NAXIS2", "")), "NAXIS2 is None"),
    "axes-0.fits": (in_fits(mono(), ("NAXIS2", 0)), "its shape is (0, 24)"),
    "bitpix.fits": (in_fits(mono(), ("BITPIX", 12)), "BITPIX is 12"),
    "bscale.fits": (in_fits(mono(), ("BSCALE", "NaN")), "BSCALE"),
    "bscale-text.fits": (in_fits(mono(), ("BSCALE", "'NaN'")), "BSCALE is NaN, not a finite number"),
    "bscale-0.fits": (in_fits(mono(), ("BSCALE", 0)), "BSCALE is 0"),
    "bzero.fits": (in_fits(mono(), ("BZERO", "1E999")), "BZERO is inf"),
    "blank.fits": (in_fits(mono(), ("BLANK", "'no'")), "BLANK is no"),
    "2gb.fits": (in_fits(mono(), ("NAXIS1", 40_000), ("NAXIS2", 25_000)), "promises 2000002880 bytes"),
    "2gb.fits.gz": (
        gzip.compress(in_fits(mono(), ("NAXIS1", 40_000), ("NAXIS2", 25_000))),
        "compressed bytes can hold",
    ),
    "2gb.npy": (
        in_npy(np.zeros(1))[:10] + b"{'descr':'<f4','fortran_order':False,'shape':(20000,25000)}".ljust(118),
        "tr",
    ),
    "2gb-header.npy": (b"\x93NUMPY\x02\x00\xff\xff\xff\x7f" + bytes(3000), "damaged"),
    "2gb.fits.fz": (in_fits(tiled(), ("ZNAXIS1", 40_000), ("ZNAXIS2", 25_000)), "tiles"),
    "2gb-one-tile.fits.fz": (
        in_fits(tiled("GZIP_1"), ("ZNAXIS1", 40_000), ("ZNAXIS2", 25_000), ("ZTILE1", 50_000), ("ZTILE2", 1250)),
        "compressed bytes can hold",
    ),
    "exabytes.fits": (in_fits(mono(), ("NAXIS1", 9223372036854775807)), "its shape is"),
    "exabytes.npy": (npy_header(f"{{'descr':'<f4','fortran_order':False,'shape':({'9' * 400},3)}}\n"), "its shape is"),
    "columns.fits.fz": (in_fits(tiled(), ("TFIELDS", 2147483647)), "TFIELDS is 2147483647"),
    "pixel-bytes.fits.fz": (in_fits(tiled(), ("ZVAL2", 8000)), "BYTEPIX is 8000"),
    "block-of-0.fits.fz": (in_fits(tiled(), ("ZVAL1", 0)), "BLOCKSIZE is 0"),
    "heap-cut.fits.fz": (in_fits(tiled(), size=6000), "truncated"),
    "unbounded-code.fits.fz": (in_fits(tiled("HCOMPRESS_1")), "unpack it with funpack"),
    "text.npy": (in_npy(np.array([["a", "b"]])), "not numbers"),
    "logical.npy": (in_npy(np.ones((4, 5), bool)), "not numbers"),
    "complex.npy": (in_npy(np.ones((4, 5), complex)), "not numbers"),
    "record.npy": (in_npy(np.zeros((4, 5), "f4,i4")), "not numbers"),
    "one-axis.npy": (in_npy(np.ones(7)), "its shape is (7,)"),
    "seven-planes.npy": (in_npy(np.ones((7, 4, 5))), "its shape is (7, 4, 5)"),
    "nested.npy": (npy_header("(" * 900), "damaged"),
    "long-header.npy": (npy_header("NAXIS = 0 " * 800), "expected 8000 bytes"),  # found: 2 s to say that it is none
    "code.npy": (npy_header("{'descr':__import__('os').abort(),'fortran_order':False,'shape':(2,2)}"), "damaged"),
    "version.npy": (npy_header("{}", (9, 9)), "damaged"),
}


def refusals(path):
    """Return what each way to read a file says of it."""
    said = []
    for read in (probe_frame, read_frame, lambda path: open_and_read(path)):
        try:
            read(path)
        except FrameError as error:
            said.append(str(error))
    return said


def open_and_read(path):
    files = OpenFiles()
    try:
        with Scratch() as scratch:
            rows = open_rows(path, files, scratch)
            rows.read(0, rows.shape[0], np.empty(rows.shape, np.float32))
    finally:
        files.close()


@pytest.mark.parametrize("name", ATTACKS)
def test_refused_in_one_line_that_names_the_file_and_the_reason(name, tmp_path):
    data, reason = ATTACKS[name]
    (tmp_path / name).write_bytes(data)
    said = refusals(tmp_path / name)
    assert len(said) >= 2, "a header may look right where the samples are not: reading tells"
    for line in said:
        assert line.startswith(f"{name}: ")
        assert reason in line
        assert line.isprintable()
        assert len(line) < 250
    told = []
    image, _, _ = utils.load_and_validate_fits(str(tmp_path / name), progress_callback=lambda *call: told.append(call))
    assert image is None
    assert [(text.split(": ")[0], level) for text, _, level in told] == [(name, "ERROR")]


def test_bayer_offset_that_is_no_number(tmp_path):
    (tmp_path / "bayer.fits").write_bytes(in_fits(mono(("BAYERPAT", "RGGB"), ("XBAYROFF", "left"))))
    said = refusals(tmp_path / "bayer.fits")
    assert len(said) == 3
    assert all("bayer.fits: its header is damaged: its Bayer pattern cannot be read" in line for line in said)


class Marker:
    """What runs a command when it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


def test_pickles_are_never_executed(tmp_path):
    mark = tmp_path / "executed"
    frame = in_npy(np.array([[Marker(mark)]], dtype=object), allow_pickle=True)
    (tmp_path / "objects.npy").write_bytes(frame)
    (tmp_path / "bare.npy").write_bytes(pickle.dumps(Marker(mark)))
    for name, reason in {
        "objects.npy": "pickled objects, which are never loaded",
        "bare.npy": "not a .npy file",
    }.items():
        said = refusals(tmp_path / name)
        assert len(said) == 3
        assert all(reason in line for line in said)
    listener = Listener()
    infos = [{"path_preprocessed_cache": str(tmp_path / "objects.npy"), "path_raw": "a.fit", "header": {}, "wcs": None}]
    assert make(infos, tmp_path / "out", listener) == ((None, None), [])
    assert "mastertile_error_loading_cache" in listener.keys
    assert not mark.exists()
    np.load(io.BytesIO(frame), allow_pickle=True)
    assert mark.exists(), "the trap itself works"


@pytest.mark.parametrize("path", CORPUS, ids=lambda path: path.name)
def test_corpus_of_the_fuzzer(path, tmp_path):
    one_input(path.read_bytes(), tmp_path)


def test_gzipped_file_is_known_by_its_contents_not_by_its_name(tmp_path):
    plain = in_fits(mono())
    (tmp_path / "plain.fits").write_bytes(plain)
    (tmp_path / "named.fits").write_bytes(gzip.compress(plain))
    expected = np.arange(480, dtype=np.float32).reshape(20, 24) * 2 + 10
    expected[0, 7] = np.nan
    for name in ("plain.fits", "named.fits"):
        assert np.array_equal(read_frame(tmp_path / name).data, expected, equal_nan=True)
        assert probe_frame(tmp_path / name).shape == (20, 24)
        open_and_read(tmp_path / name)


@pytest.mark.parametrize("name", ["ALPHA", "COVERAGE"])
def test_hostile_plane_of_a_tile_is_told(name, tmp_path):
    stream = io.BytesIO()
    fits.HDUList([fits.PrimaryHDU(NUMBERS), fits.ImageHDU(np.full((20, 24), 255, np.uint8), name=name)]).writeto(stream)
    data = stream.getvalue()
    at = data.rindex(b"NAXIS1  =")
    (tmp_path / "tile.fits").write_bytes(data[:at] + b"NAXIS1  =           2000000000".ljust(80) + data[at + 80 :])
    with pytest.raises(FrameError, match=r"tile\.fits: it is truncated"):
        read_tile(tmp_path / "tile.fits")
    told = []
    image, _, info = utils.load_and_validate_fits(
        str(tmp_path / "tile.fits"), progress_callback=lambda *c: told.append(c)
    )
    if name == "ALPHA":
        assert (image, info) == (None, {})
        assert told[0][0].startswith("tile.fits: it is truncated")
    else:
        assert image is not None, "no one asks for the coverage there"


# ---------------------------------------------------------------------------------------------------------- paths


@posix
def test_what_is_no_file_is_said_to_be_none(tmp_path):
    (tmp_path / "broken.fits").symlink_to(tmp_path / "nowhere")
    (tmp_path / "loop.npy").symlink_to(tmp_path / "loop.npy")
    (tmp_path / "device.fits").symlink_to("/dev/zero")
    (tmp_path / "folder.fits").mkdir()
    os.mkfifo(tmp_path / "pipe.npy")
    long = "x" * 300 + ".fits"
    for name, reason in {
        "broken.fits": "a link to a file that is not there", "loop.npy": "leads back to itself",
        "device.fits": "a device or a pipe", "pipe.npy": "a device or a pipe", "folder.fits": "it is a folder",
        "gone.fits": "no such file", long: "name is too long", "nul\0.fits": "cannot be opened",
    }.items():  # fmt: skip
        said = refusals(tmp_path / name)
        assert len(said) == 3
        assert all(reason in line and line.isprintable() for line in said), said
    assert [path.name for path in find_frame_files([tmp_path]).paths] == [
        "broken.fits",
        "device.fits",
        "loop.npy",
        "pipe.npy",
    ]
    for name in (long, "gone.fits", "nul\0.fits"):
        with pytest.raises(FrameError, match="there is no such file or folder"):
            find_frame_files([tmp_path / name])


@linux
def test_odd_paths_beside_good_frames(tmp_path):
    """A tile of frames with odd names, in an odd folder, beside files of every kind that is none; 256 open files."""
    group = [frame.data for frame in simulate_group(4, SHAPE, seed=31, max_shift=25.0, n_stars=250)[0]]
    folder = tmp_path / "Pléiades und Ähnliches"
    folder.mkdir()
    good = ["a b.fits", "ü\u202e.fits", "line\nbreak.fits", os.fsdecode(b"not-utf8-\xff\x1b[31m.fits")]
    for name, data in zip(good, group, strict=True):
        (folder / name).write_bytes(in_fits(fits.PrimaryHDU(np.moveaxis(data, -1, 0).copy())))
    (folder / "broken\nlink\xe9.fits").symlink_to(folder / "nowhere")
    (folder / "device.fits").symlink_to("/dev/zero")
    os.mkfifo(folder / "pipe.npy")
    (folder / "cut\x1b[2J.fits").write_bytes(in_fits(mono(), size=3000))
    (folder / "memory.npy").symlink_to("/proc/self/mem")
    out = folder / ".." / "out\n\udcff"
    done = subprocess.run(
        ["/bin/sh", "-c", 'ulimit -n 256; exec "$@"', "sh", sys.executable, "-m", "zemosaic_patch", "tile",
         str(folder / ".." / folder.name), "-o", str(out), "--reference", good[3]],
        capture_output=True, timeout=300, env={**os.environ, "PYTHONPATH": str(Path(cli.__file__).parents[1])},
    )  # fmt: skip
    lines = done.stderr.decode("utf-8", "replace").splitlines()
    assert done.returncode == 0, lines
    lines = [line for line in lines if not line.startswith("compiling ")]  # which the first run on a machine says
    assert len(lines) == 4, lines
    for start, reason in {
        r"broken\nlink": "a link to a file that is not there", "device.fits": "a device or a pipe",
        "pipe.npy": "a device or a pipe", r"cut\x1b[2J.fits": "truncated", "memory.npy": "Input/output error",
    }.items():  # fmt: skip
        (line,) = [line for line in lines if start in line]
        assert reason in line
        assert line.startswith("warning: ")
        assert line.endswith("; 2 left out" if "pipe" in line else "; left out")
        assert line.isprintable()
    assert b"4 stacked, 5 left out" in done.stdout
    left = {path.name for path in out.iterdir()}
    assert left.issuperset(tile_files.OUTPUTS)
    assert not any(name.startswith(".") for name in left), "no temporary file"
    left_out = json.loads((out / "tile.json").read_text())["left_out"]
    assert len(left_out) == 5
    assert left_out["cut\x1b[2J.fits"].startswith("it is truncated")


# ------------------------------------------------------------------------------------------- limits and changes


def run_limited(code, tmp_path, timeout=120):
    """Run code in a process of its own; return its output, or fail with its error."""
    head = "import os, resource, sys\nimport numpy as np\nfrom pathlib import Path\nos.chdir(sys.argv[1])\n"
    done = subprocess.run(
        [sys.executable, "-c", head + textwrap.dedent(code), str(tmp_path)],
        capture_output=True, text=True, timeout=timeout,
        env={**os.environ, "PYTHONPATH": str(Path(cli.__file__).parents[1])},
    )  # fmt: skip
    assert done.returncode == 0, (done.returncode, done.stderr[-2000:])
    return done.stdout


@linux
def test_thousands_of_frames_with_256_open_files(tmp_path):
    out = run_limited(
        """
        from astropy.wcs import WCS  # imports open files of their own
        import zemosaic_worker as worker
        from nanstack.memory import Scratch
        from nanstack.stack.definition import Rejection
        from nanstack.stack.stacker import stack_frames
        resource.setrlimit(resource.RLIMIT_NOFILE, (256, 256))
        for index in range(3000):
            np.save(f"{index}.npy", np.full((3, 4, 3), index, np.float32))
        paths = [Path(f"{index}.npy") for index in range(3000)]
        print(stack_frames(paths, Rejection("none")).image.mean())
        with Scratch() as scratch:
            stored = [scratch.store(np.load(path)) for path in paths]
            print(stack_frames(stored, Rejection("none")).image.mean(), stored[2999][0, 0, 0])
            del stored
        said = []
        report = worker._Reporter(lambda *call, **details: said.append(call), 1, False)
        group = worker._load_group([{"path_preprocessed_cache": str(path)} for path in paths], report)
        print(len(group.frames), said, group.frames[2999]()[0, 0, 0])
        """,
        tmp_path,
    )
    assert out.split("\n")[:3] == ["1499.5", "1499.5 2999.0", "3000 [] 2999.0"]


@linux
def test_file_cut_after_it_was_read_harms_no_one(tmp_path):
    """A memory map of a file that shrinks ends in SIGBUS."""
    out = run_limited(
        """
        import zemosaic_worker as worker
        from nanstack.io.frames import FrameError, read_frame
        np.save("frame.npy", np.ones((500, 400, 3), np.float32))
        data = read_frame("frame.npy").data
        np.save("other.npy", np.ones((500, 400, 3), np.float32))
        report = worker._Reporter(lambda *call, **details: None, 1, False)
        group = worker._load_group([{"path_preprocessed_cache": f"{name}.npy"} for name in ("frame", "other")], report)
        for name in ("frame.npy", "other.npy"):
            os.truncate(name, 1000)
        print(data.sum(), np.sum(group.frames[0]))
        try:
            group.frames[1]()
        except FrameError as error:
            print(error)
        """,
        tmp_path,
    )
    assert out.startswith("600000.0 600000.0\nother.npy: it ends too early")


@linux
def test_claims_of_gigabytes_take_no_memory(tmp_path):
    """Every attack again where 300 MiB more than the imports take are all there is; and sound files of GiBs."""
    for name, (data, _) in ATTACKS.items():
        (tmp_path / name).write_bytes(data)
    with open(tmp_path / "sparse.npy", "wb") as file:
        file.write(npy_header("{'descr':'<f4','fortran_order':False,'shape':(1000000,1000000)}"))
        file.truncate(4 * 10**12 + 1000)
    out = run_limited(
        """
        import gzip, psutil
        from astropy.io import fits
        from nanstack.io.frames import FrameError, read_frame
        fits.CompImageHDU
        limit = psutil.Process().memory_info().vms + 300 * 2**20
        resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
        for path in sorted(Path(".").iterdir()):
            try:
                read_frame(path)
            except FrameError as error:
                print(error)
        """,
        tmp_path,
    )
    assert len(out.strip().split("\n")) == len(ATTACKS) + 1
    assert "there is no memory" not in out
    assert re.search(r"sparse\.npy: it needs \d+\.\d GiB of memory, and \d+\.\d are free", out)


@linux
def test_solution_of_thirty_thousand_axes_takes_no_memory(tmp_path):
    (tmp_path / "axes.fits").write_bytes((CORPUS[0].parent / "found-thirty-thousand-axes").read_bytes()[1:])
    out = run_limited(
        """
        import psutil
        from nanstack.io.frames import probe_frame
        import astropy.wcs
        before = psutil.Process().memory_info().rss
        wcs = probe_frame("axes.fits").wcs
        (most,) = (line.split()[1] for line in open("/proc/self/status") if line.startswith("VmHWM"))
        print(wcs, (int(most) * 1024 - before) >> 20)  # getrusage would count the process that began this one, too
        """,
        tmp_path,
    )
    wcs, mebibytes = out.split()
    assert wcs == "None"
    assert int(mebibytes) < 100, "a matrix of it is one of 7 GB"


def test_read_error_in_the_middle_of_a_file(tmp_path, monkeypatch):
    def failing(handle, buffers, offset, bad_from=1500):
        if offset + len(buffers[0]) > bad_from:
            raise OSError(5, "Input/output error")
        os.lseek(handle, offset, os.SEEK_SET)
        buffers[0][:] = os.read(handle, len(buffers[0]))
        return len(buffers[0])

    np.save(tmp_path / "frame.npy", np.ones((20, 24), np.float32))
    files = OpenFiles()
    with Scratch() as scratch:
        rows = open_rows(tmp_path / "frame.npy", files, scratch)
        monkeypatch.setattr(os, "preadv", failing, raising=False)
        out = np.empty((10, 24), np.float32)
        rows.read(0, 10, out)
        assert (out == 1).all()
        with pytest.raises(FrameError, match=r"^frame\.npy: it cannot be read \(Input/output error\)$"):
            rows.read(10, 20, out)
    files.close()


@pytest.mark.parametrize("how", ["rewritten", "replaced"])
def test_file_that_changes_while_it_is_read_is_named(how, tmp_path):
    path = tmp_path / "frame.fits"
    fits.writeto(path, NUMBERS)
    os.utime(path, ns=(0, 10**18))
    files = OpenFiles()
    with Scratch() as scratch:
        rows = open_rows(path, files, scratch)
        out = np.empty((10, 24), np.float32)
        rows.read(0, 10, out)
        if how == "rewritten":
            path.write_bytes(path.read_bytes())
        else:
            files.close()  # as the file would be for others' sake; Windows replaces no open one
            fits.writeto(tmp_path / "new.fits", NUMBERS + 1)
            os.replace(tmp_path / "new.fits", path)
        with pytest.raises(FrameError, match=r"frame\.fits: it changed while it was read"):
            rows.read(10, 20, out)
    files.close()


# --------------------------------------------------------------------------------------------- worker and report


def test_worker_goes_on_without_hostile_caches_and_raw_names(tmp_path):
    frames = simulate_group(5, TILE_SHAPE, seed=21, max_shift=45.0, max_rotation=5.0, n_stars=250)[0]
    infos = cached(tmp_path, frames)
    Path(infos[1]["path_preprocessed_cache"]).write_bytes(in_npy(np.ones(TILE_SHAPE + (3,), np.float32))[:-1])
    np.save(infos[2]["path_preprocessed_cache"], np.ones((*TILE_SHAPE, 3)))
    np.save(infos[3]["path_preprocessed_cache"], np.full((*TILE_SHAPE, 3), np.nan, np.float32))
    infos[3]["path_raw"] = "Pléiades\n\x1b[31m.fit"
    infos[0]["path_raw"] = infos[4]["path_raw"] = "Référence\n.fit"
    for index in (0, 4):
        infos[index]["header"] = {"OBJECT": "Pléiades", "GAIN": float("nan"), "EXPTIME": 10.0}
    listener = Listener()
    (path, _), retry = make(infos, tmp_path / "out", listener)
    assert path is not None, listener.calls
    failed = {details["filename"]: key for key, _, details in listener.calls if "filename" in details}
    assert failed["cache_1.npy"] == "mastertile_error_loading_cache"
    assert failed["cache_2.npy"] == "mastertile_warn_invalid_cached_data"
    assert [info["path_raw"] for info in retry[0]] == ["Pléiades\n\x1b[31m.fit"]
    with fits.open(path) as hdus:
        assert hdus[0].header["ZMT_NALGN"] == 2
        assert hdus[0].header["ZMT_REF"] == "R?f?rence\\n.fit"
        assert hdus[0].header["OBJECT"] == "Pl?iades"
        assert "Pl?iades\\n\\x1b[31m.fit failed" in str(hdus[0].header["HISTORY"]).replace("\n", "")


@posix
def test_report_of_hostile_descriptions(tmp_path):
    source = tmp_path / "tile.json"
    for text in ("[" * 100_000, "\xff", "{", "3"):
        source.write_text(text, encoding="latin1")
        with pytest.raises(ReportError, match=r"tile\.json"):
            write_report(source)
        assert [path.name for path in tmp_path.iterdir()] == ["tile.json"]
    source.unlink()
    os.mkfifo(source)
    with pytest.raises(ReportError, match="a device or a pipe"):
        write_report(source)
    source.unlink()
    source.write_text('{"canvas": {}, "files": {"picture": "tile.png", "coverage_picture": "coverage.png"}}')
    os.mkfifo(tmp_path / "tile.png")
    (tmp_path / "coverage.png").symlink_to("/dev/zero")
    page = write_report(source).read_text()
    assert page.count("it is a device or a pipe") == 2
