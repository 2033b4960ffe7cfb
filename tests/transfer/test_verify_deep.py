"""Looking inside: NIfTI files must hold what their headers say, and headers are not believed."""

from __future__ import annotations

import gzip
import subprocess
import sys
import threading
import time
import zlib
from contextlib import suppress
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from bidsplan.bids.nifti import nifti_extent, nifti_problem
from bidsplan.cli.main import run
from bidsplan.errors import IntegrityError
from bidsplan.plan.file import write_plan
from bidsplan.transfer.verification import verify
from plans import failures, fetch, finished, local_plan, plan_over, write_files

RANDOM = np.random.default_rng(0)
KINDS = [nib.Nifti1Image, nib.Nifti2Image]


def image(shape=(5, 6, 7), kind=nib.Nifti1Image, dtype="<i2", **fields):
    made = kind(RANDOM.integers(0, 99, shape).astype(dtype), np.eye(4))
    data = made.to_bytes()
    header = type(made.header)(data[: made.header.sizeof_hdr])
    for name, value in fields.items():
        header[name] = value
    return header.binaryblock + data[len(header.binaryblock) :]


def problem(data, name="x.nii", step=1000):
    pieces = (data[start : start + step] for start in range(0, len(data), step))
    return nifti_problem(pieces, len(data), packed=name.endswith(".gz"))


@pytest.mark.parametrize("step", [1, 348, 1 << 20])
@pytest.mark.parametrize("dtype", ["u1", "<i2", "f4", "c8", "f8"])
@pytest.mark.parametrize("kind", KINDS)
def test_whole_images_are_fine_in_any_pieces(kind, dtype, step):
    data = image(kind=kind, dtype=dtype)
    assert problem(data, step=step) is None
    assert problem(data + b"more", step=step) is None
    assert problem(gzip.compress(data), "x.nii.gz", step=step) is None


@pytest.mark.parametrize("kind", KINDS)
def test_headers_of_either_byte_order_are_read(kind):
    made = kind(np.zeros((3, 4, 5), ">i2"), np.eye(4), kind.header_class(endianness=">"))
    assert problem(made.to_bytes()) is None
    assert problem(made.to_bytes()[:-1]) == "expected 240 bytes of data by its header, got 239"


def test_extensions_stand_before_the_data():
    made = nib.Nifti1Image(np.zeros((5, 5, 5), "<i2"), np.eye(4))
    made.header.extensions.append(nib.nifti1.Nifti1Extension("comment", bytes(1000)))
    assert nifti_extent(made.to_bytes()[:540]).offset > 1352
    assert problem(made.to_bytes()) is None
    assert problem(made.to_bytes()[:-1]) == "expected 250 bytes of data by its header, got 249"


def test_bits_of_a_binary_image_are_counted():
    data = image((8, 3, 3), dtype="u1", datatype=1, bitpix=1)[:352]
    assert problem(data + bytes(9)) is None
    assert problem(data + bytes(8)) == "expected 9 bytes of data by its header, got 8"


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_cut_off_is_counted(kind):
    data = image(kind=kind)
    offset = len(data) - 420
    for got in (0, 1, 419):
        expected = f"expected 420 bytes of data by its header, got {got}"
        assert problem(data[: offset + got]) == expected
        assert problem(gzip.compress(data[: offset + got]), "x.nii.gz") == expected
    assert problem(data[:400]).startswith("expected 420" if kind is KINDS[0] else "no header")


def test_every_cut_of_gzip_is_found():
    packed = gzip.compress(image())
    found = [problem(packed[:length], "x.nii.gz") for length in range(len(packed))]
    assert all(found)
    assert found[-1] == "its gzip ends early: after 772 bytes unpacked"
    assert found[len(packed) // 2].startswith("its gzip ends early: expected 420 bytes of data")


def test_every_changed_byte_after_gzips_header_is_found():
    data = image()
    packed = gzip.compress(data)
    # The ten bytes before hold a time and the like, which nothing is compared with.
    for place in range(10, len(packed)):
        changed = bytearray(packed)
        changed[place] ^= 1
        # Some bits only fill the last byte of what is packed.
        assert problem(bytes(changed), "x.nii.gz") or gzip.decompress(changed) == data, place


def test_gzip_of_several_members_and_padding_is_whole():
    data = image()
    packed = gzip.compress(data[:100]) + gzip.compress(b"") + gzip.compress(data[100:])
    for step in (1, 7, 1 << 20):
        assert problem(packed + bytes(600), "x.nii.gz", step) is None
    assert "incorrect header check" in problem(packed + b"more", "x.nii.gz")


@pytest.mark.parametrize(
    ("data", "name", "message"),
    [
        (b"", "x.nii", "no header of a single NIfTI file: expected 'n+1' or 'n+2' in it"),
        (b"", "x.nii.gz", "no header of a single NIfTI file: expected 'n+1' or 'n+2' in it"),
        (
            b"<html>" * 99,
            "x.nii",
            "no header of a single NIfTI file: expected 'n+1' or 'n+2' in it",
        ),
        (gzip.compress(image()), "x.nii", "no header"),
        (image(), "x.nii.gz", "its gzip is damaged after 0 bytes unpacked: Error -3"),
        (image(magic=b"ni1"), "x.nii", "no header"),
        (
            image(datatype=777),
            "x.nii",
            "a NIfTI header that can't be right: dim [3 5 6 7 1 1 1 1], datatype 777, v",
        ),
        (image(vox_offset=np.nan), "x.nii", "a NIfTI header that can't be right: dim ["),
        (image(vox_offset=np.inf), "x.nii", "a NIfTI header that can't be right: dim ["),
        (image(vox_offset=-1), "x.nii", "a NIfTI header that can't be right: dim ["),
        (
            image(dim=[3, 5, -6, 7, 1, 1, 1, 1]),
            "x.nii",
            "a NIfTI header that can't be right: dim [",
        ),
        (
            image(dim=[99, 1, 1, 1, 1, 1, 1, 1]),
            "x.nii",
            "a NIfTI header that can't be right: dim [",
        ),
        (image(vox_offset=1e38), "x.nii", "expected 420 bytes of data by its header, got 0"),
    ],
)
def test_what_is_no_image_is_told(data, name, message):
    assert problem(data, name).startswith(message)


def test_an_absurd_header_and_a_bomb_take_no_memory():
    code = (
        "import resource, zlib, numpy, nibabel\n"
        "from bidsplan.bids.nifti import nifti_problem\n"
        "made = nibabel.Nifti2Image(numpy.zeros((2, 2, 2)), numpy.eye(4))\n"
        "made.header['dim'] = [7] + [2**62] * 7\n"
        "made.header['vox_offset'] = 544\n"
        "head = made.header.binaryblock + bytes(4)\n"
        "packer = zlib.compressobj(1, zlib.DEFLATED, 31)\n"
        "data = packer.compress(head)\n"
        "data += b''.join(packer.compress(bytes(1 << 20)) for _ in range(256)) + packer.flush()\n"
        "before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "print(nifti_problem([data], len(data), packed=True))\n"
        "print(nifti_problem([head], 10, packed=False))\n"
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    packed, plain, grown = done.stdout.splitlines()
    wanted = 8 * (1 << 62) ** 7
    assert packed == f"expected {wanted} bytes of data by its header, got {1 << 28}"
    assert plain == f"expected {wanted} bytes of data by its header, got 0"
    assert int(grown) < 20_000


def studied():
    whole = image()
    return {
        "README": b"hello",
        "sub-1/a_T1w.nii": whole,
        "sub-1/b_T1w.nii": whole[:-5],
        "sub-1/c_T1w.nii.gz": gzip.compress(whole),
        "sub-1/d_T1w.nii.gz": gzip.compress(whole)[:-5],
        "sub-1/e_T1w.json": b"{",
    }


def test_what_is_damaged_at_its_source_is_found_only_by_looking_inside(tmp_path):
    files, folder = studied(), tmp_path / "d"
    plan = plan_over("s3://b", files)
    write_files(folder, files)
    assert failures(verify(plan, folder)) == {}
    events = list(verify(plan, folder, deep=True))
    hint = "its bytes are the planned ones, so the source has the same fault"
    errors = failures(events)
    assert {path: str(error) for path, error in errors.items()} == {
        "sub-1/b_T1w.nii": "sub-1/b_T1w.nii: expected 420 bytes of data by its header, got 415; "
        + hint,
        "sub-1/d_T1w.nii.gz": "sub-1/d_T1w.nii.gz: its gzip ends early: after 772 bytes unpacked; "
        + hint,
    }
    assert {type(error) for error in errors.values()} == {IntegrityError}
    assert finished(events).keys() == files.keys() - errors.keys()


def test_what_only_its_size_is_known_of_may_be_fetched_again(tmp_path):
    files = {"x.nii": image()[:-5]}
    write_files(tmp_path / "d", files)
    plan = plan_over("s3://b", files, tags=False)
    (error,) = failures(verify(plan, tmp_path / "d", deep=True)).values()
    assert str(error).endswith("fetch again with '--existing replace' to replace it")


def test_a_file_that_differs_is_told_as_that(tmp_path):
    plan = plan_over("s3://b", {"x.nii": image()})
    write_files(tmp_path / "d", {"x.nii": image()[:-5]})
    (error,) = failures(verify(plan, tmp_path / "d", deep=True)).values()
    assert "not the planned file" in str(error)


def test_the_command_looks_inside_when_asked(tmp_path, capsys):
    plan, folder = local_plan(tmp_path, studied()), tmp_path / "d"
    fetch(plan, folder)
    write_plan(plan, tmp_path / "p.jsonl")
    command = ["verify", str(tmp_path / "p.jsonl"), str(folder)]
    assert run(command) == 0
    assert capsys.readouterr().out == "6 files read and verified by receipt\n"
    assert run([*command, "--deep"]) == 1
    out, err = capsys.readouterr()
    assert out == "4 files read and verified by receipt; 2 failed (corrupt)\n"
    assert "b_T1w.nii: expected 420 bytes of data by its header, got 415" in err


def position(path):
    """Give how far an open file has been read; None where it is not open."""
    for link in Path("/proc/self/fd").iterdir():
        with suppress(OSError):
            if link.readlink() == path:
                found = Path(f"/proc/self/fdinfo/{link.name}").read_text(encoding="ascii")
                return int(found.split()[1])
    return None


def test_closing_stops_the_unpacking_of_a_long_file(tmp_path):
    packer = zlib.compressobj(9, zlib.DEFLATED, 31)
    start = packer.compress(image()) + packer.flush(zlib.Z_FULL_FLUSH)
    zeros = packer.compress(bytes(1 << 24)) + packer.flush(zlib.Z_FULL_FLUSH)
    files = {"a.nii": image(), "b.nii.gz": start + 4000 * zeros}
    write_files(tmp_path, files)
    events = verify(plan_over("s3://b", files), tmp_path, jobs=1, deep=True)
    assert next(events).entry.path == "a.nii"
    # Digesting goes on all the time; a piece of zeros takes long to unpack.
    end, seen = time.monotonic() + 30, [None, None]
    while seen[0] is None or seen[0] != seen[1]:
        assert time.monotonic() < end
        time.sleep(0.05)
        seen = [seen[1], position(tmp_path / "b.nii.gz")]
    began = time.monotonic()
    events.close()
    assert time.monotonic() - began < 10
    assert not [t for t in threading.enumerate() if t.name.startswith("bidsplan-verify")]
