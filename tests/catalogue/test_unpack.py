"""Archives are read as streams: what is hostile or damaged ends in a sentence, and nothing is written anywhere."""

import gzip
import io
import stat
import struct
import tarfile
import zipfile
import zlib

import pytest

from cprlab.catalogue import import_data, unpack
from cprlab.catalogue.unpack import members
from cprlab.errors import DataError

GOOD = b"1::2::5::3\n" * 9


def zipped(path, name="ml-1m/ratings.dat", data=GOOD, mode=0o644):
    info = zipfile.ZipInfo(name)
    info.external_attr, info.compress_type = mode << 16, zipfile.ZIP_DEFLATED
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("ml-1m/README", "terms")
        archive.writestr(info, data)


def tarred(path, name="ml-1m/ratings.dat", kind=tarfile.REGTYPE, data=GOOD):
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, "/etc/passwd"
    info.size = len(data) if kind == tarfile.REGTYPE else 0
    with tarfile.open(path, "w:gz") as archive:
        archive.addfile(info, io.BytesIO(data) if kind == tarfile.REGTYPE else None)
        archive.addfile(tarfile.TarInfo("ml-1m/README"))


def halved(make):
    def cut(path):
        make(path)
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])

    return cut


def swapped(old, new):
    """Make a zip with other bytes somewhere, such as a flag."""

    def swap(path):
        zipped(path)
        assert old in path.read_bytes()
        path.write_bytes(path.read_bytes().replace(old, new))

    return swap


def lying(path):
    """A zip whose directory says that 600,000 packed zeros are 99 bytes."""
    zipped(path, data=bytes(600_000))
    path.write_bytes(path.read_bytes().replace(struct.pack("<I", 600_000), struct.pack("<I", 99)))


def deep(path):
    """A gzip in which a block swells as much as deflate can."""
    path.write_bytes(gzip.compress(bytes(600_000)))


HOSTILE = {
    "upwards in a zip": (lambda path: zipped(path, "../../ratings.dat"), "the unsafe name"),
    "upwards in a Windows zip": (lambda path: zipped(path, "..\\ratings.dat"), "the unsafe name"),
    "absolute in a zip": (lambda path: zipped(path, "/tmp/ratings.dat"), "the unsafe name"),
    "a drive in a zip": (lambda path: zipped(path, "C:ratings.dat"), "the unsafe name"),
    "an escape in a zip": (lambda path: zipped(path, "\x1b[31mratings.dat"), r"'\x1b[31mratings.dat'"),
    "a link in a zip": (lambda path: zipped(path, mode=stat.S_IFLNK | 0o777), "neither a file nor a folder"),
    "upwards in a tar": (lambda path: tarred(path, "a/../../ratings.dat"), "the unsafe name"),
    "absolute in a tar": (lambda path: tarred(path, "/ratings.dat"), "the unsafe name"),
    "a link in a tar": (lambda path: tarred(path, "x", tarfile.SYMTYPE), "neither a file nor a folder"),
    "a hard link in a tar": (lambda path: tarred(path, "x", tarfile.LNKTYPE), "neither a file nor a folder"),
    "a device in a tar": (lambda path: tarred(path, "x", tarfile.CHRTYPE), "neither a file nor a folder"),
    "a pipe in a tar": (lambda path: tarred(path, "x", tarfile.FIFOTYPE), "neither a file nor a folder"),
    "a bomb in a zip": (lambda path: zipped(path, data=bytes(600_000)), "the limit is 100 times"),
    "a bomb in a tar": (lambda path: tarred(path, data=bytes(600_000)), "the limit is 100 times"),
    "a bomb in a gzip": (deep, "the limit is 100 times"),
    "a zip that lies about sizes": (lying, "cannot be read or unpacked"),
    "half a zip": (halved(zipped), "the end of the zip archive is missing"),
    "half a tar": (halved(lambda path: tarred(path, data=zlib.compress(GOOD * 999))), "cannot be read or unpacked"),
    "half a gzip": (halved(lambda path: path.write_bytes(gzip.compress(GOOD))), "cannot be read or unpacked"),
    "other bytes in a zip": (swapped(zlib.crc32(GOOD).to_bytes(4, "little"), b"0000"), "Bad CRC-32"),
    "a password": (
        swapped(b"PK\x01\x02\x14\x03\x14\x00\x00\x00", b"PK\x01\x02\x14\x03\x14\x00\x01\x00"),
        "unpack it yourself",
    ),
    "a method": (
        swapped(b"PK\x01\x02\x14\x03\x14\x00\x00\x00\x08", b"PK\x01\x02\x14\x03\x14\x00\x00\x00\x63"),
        "unpack it yourself",
    ),
}


@pytest.mark.parametrize("case", HOSTILE)
def test_a_hostile_or_damaged_archive_ends_in_a_sentence(tmp_path, monkeypatch, case):
    make, said = HOSTILE[case]
    (tmp_path / "inside").mkdir()
    monkeypatch.chdir(tmp_path / "inside")
    monkeypatch.setattr(unpack, "SMALL", 100_000)
    make(tmp_path / "packed")
    with pytest.raises(DataError) as caught:
        import_data("ml-1m", tmp_path / "packed")
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)
    assert "\x1b" not in str(caught.value)
    assert {path.name for path in tmp_path.rglob("*")} - {"data"} == {"inside", "packed"}


def test_members_are_bytes_as_they_were_packed(tmp_path):
    zipped(tmp_path / "a")
    tarred(tmp_path / "b")
    (tmp_path / "ratings.dat.gz").write_bytes(gzip.compress(GOOD))
    (tmp_path / "plain").write_bytes(GOOD)
    for file, name in (("a", "ml-1m/ratings.dat"), ("b", "ml-1m/ratings.dat"), ("ratings.dat.gz", "ratings.dat")):
        member = next(member for member in members(tmp_path / file) if member.name == name)
        with member.open() as stream:
            assert stream.read() == GOOD
    (member,) = members(tmp_path / "plain")
    with member.open() as stream:
        assert stream.read() == GOOD
