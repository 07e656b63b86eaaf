"""Archives that are what they say come out whole; archives that a stranger could send are refused by the entry's name."""

import gzip
import io
import random
import stat
import tarfile
import tracemalloc
import warnings
import zipfile

import pytest

from stages.reading import archives
from stages.reading.archives import unpack
from stages.shell.errors import UserError

GOOD = {"photos/ants/one.jpg": b"1" * 1000, "photos/ants/two words.jpg": b"2" * 70_000, "photos/empty": b""}
each_suffix = pytest.mark.parametrize("suffix", [".zip", ".tar", ".tgz"])


def write_archive(path, content, **last):
    """Any names are accepted, also ones that no honest tool would write; `last` are attributes of the last entry's header.

    A name that ends in / is a folder; a tab at the end is dropped, so that a dict can hold one name twice.
    """
    if path.suffix == ".zip":
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as zipped, warnings.catch_warnings(action="ignore"):  # of duplicate names
            for name, data in content.items():
                info = zipfile.ZipInfo()
                info.filename = name.rstrip("\t")
                zipped.writestr(info, data, zipfile.ZIP_DEFLATED)
            for key, value in last.items():
                setattr(info, key, value)
        return path
    with tarfile.open(path, "w:gz" if path.name.endswith("gz") else "w", format=tarfile.GNU_FORMAT) as tarred:
        for number, (name, data) in enumerate(content.items(), start=1):
            info = tarfile.TarInfo(name.rstrip("\t"))
            info.type = tarfile.DIRTYPE if name.endswith("/") else last["type"] if last and number == len(content) else tarfile.REGTYPE
            info.size, info.linkname, info.mode, info.uid, info.mtime = len(data), "/etc/passwd", 0o6777, 12345, 1
            tarred.addfile(info, io.BytesIO(data))
    return path


def files_under(folder):
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def refusal(archive, into):
    with pytest.raises(UserError) as caught:
        unpack(archive, into, max_megabytes=1)
    assert archive.name in str(caught.value) and str(caught.value).isprintable()
    return str(caught.value)


@pytest.mark.parametrize("suffix", archives.SUFFIXES)
def test_an_honest_archive_comes_out_whole_without_its_modes_and_times(tmp_path, suffix):
    odd = {"photos/": b"", "photos/bees/": b"", "./": b"", "./x//y.txt": b"y", "\u202ename": b""}
    unpack(write_archive(tmp_path / f"a{suffix}", {**odd, **GOOD}), tmp_path / "out", 1)
    assert files_under(tmp_path / "out") == {**GOOD, "x/y.txt": b"y", "\u202ename": b""}
    assert (tmp_path / "out/photos/bees").is_dir()
    (tmp_path / "plain").touch()
    for path in (tmp_path / "out").rglob("*.jpg"):
        assert path.stat().st_mode == (tmp_path / "plain").stat().st_mode and path.stat().st_mtime > 1_000_000


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("a/../../outside.txt", "leaves the folder"),
        ("/tmp/outside.txt", "leaves the folder"),
        ("//server/outside.txt", "leaves the folder"),
        ("c:outside.txt", "leaves the folder"),
        ("..\\outside.txt", "leaves the folder"),
        ("../\u202egpj.txt", r"'../\u202egpj.txt' leaves the folder"),
        ("a\\b.txt", "has a backslash"),
        ("\x1b[2J\nb.txt", r"'\x1b[2J\nb.txt' has a backslash, a control character"),
        ("x" * 300, "name too long"),
        ("a/" * 600, "name that is too long"),
    ],
)
def test_an_entry_with_a_bad_name_is_refused_by_name(tmp_path, name, said):
    for suffix in (".zip", ".tar"):
        archive = write_archive(tmp_path / f"a{suffix}", {"good.txt": b"good", name: b"" if name.endswith("/") else b"evil"})
        out = tmp_path / suffix / "in/out"
        assert said in refusal(archive, out)
        assert files_under(out.parent) == {"out/good.txt": b"good"}


@pytest.mark.parametrize(
    ("suffix", "name", "last", "said"),
    [
        *((".tar", "odd", {"type": kind}, "'odd' is a link, a device or") for kind in (tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE)),
        (".tar", "caf\udce9", {}, r"'caf\udce9' has a backslash, a control character or a byte that is not UTF-8"),
        *((".zip", "odd", {"external_attr": kind << 16}, "'odd' is a link, a device or") for kind in (stat.S_IFLNK, stat.S_IFIFO)),
        (".zip", "odd", {"compress_type": zipfile.ZIP_BZIP2}, "compressed by another method than deflate"),
        (".zip", "odd", {"flag_bits": 1}, "is encrypted"),
        (".zip", "odd\0.txt", {}, r"'odd\x00.txt' has a backslash, a control character"),
        (".zip", "", {}, "'' has the name of an entry before it"),
    ],
)
def test_an_entry_that_is_no_plain_file_or_folder_is_refused(tmp_path, suffix, name, last, said):
    archive = write_archive(tmp_path / f"a{suffix}", {"good.txt": b"good", name: b""}, **last)
    assert said in refusal(archive, tmp_path / "out")
    assert files_under(tmp_path / "out") == {"good.txt": b"good"}


@pytest.mark.parametrize("names", [("a/b.txt", "a/b.txt\t"), ("a/b.txt", "a//b.txt"), ("a", "a/b.txt"), ("a/b.txt", "a"), ("a", "a/")])
def test_two_entries_of_one_name_are_refused(tmp_path, names):
    for suffix in (".zip", ".tar"):
        archive = write_archive(tmp_path / f"a{suffix}", {name: b"" if name.endswith("/") else b"x" for name in names})
        assert "has the name of an entry before it" in refusal(archive, tmp_path / suffix)


@each_suffix
def test_a_bomb_is_stopped_at_the_limit_which_is_on_all_entries_together(tmp_path, suffix):
    exact = {"a": b"1" * 600_000, "b": b"2" * 400_000}
    unpack(write_archive(tmp_path / f"a{suffix}", exact), tmp_path / "out", 1)
    assert files_under(tmp_path / "out") == exact
    assert "'c' takes it over 1 MB" in refusal(write_archive(tmp_path / f"b{suffix}", {**exact, "c": b"3"}), tmp_path / "more")
    message = refusal(write_archive(tmp_path / f"c{suffix}", {"first.txt": b"x", "bomb.bin": bytes(30_000_000)}), tmp_path / "bomb")
    assert "'bomb.bin' takes it over 1 MB" in message and "raise unpack.max_megabytes" in message
    assert files_under(tmp_path / "bomb") == {"first.txt": b"x"}


def test_an_archive_that_lies_about_sizes_cannot_pass_the_limit(tmp_path):
    assert "damaged" in refusal(write_archive(tmp_path / "a.zip", {"bomb.bin": bytes(3_000_000)}, file_size=10), tmp_path / "out")
    assert sum(map(len, files_under(tmp_path / "out").values())) <= 10
    with tarfile.open(tmp_path / "b.tar", "w", format=tarfile.PAX_FORMAT) as tarred:
        info = tarfile.TarInfo("holes")
        info.pax_headers = {"GNU.sparse.map": "0,1", "GNU.sparse.size": str(10**12), "GNU.sparse.name": "holes"}
        info.size = 1
        tarred.addfile(info, io.BytesIO(b"x"))
    assert "'holes' takes it over 1 MB" in refusal(tmp_path / "b.tar", tmp_path / "out")


def test_a_tar_that_swells_in_its_headers_is_stopped_in_little_memory(tmp_path):
    header = tarfile.TarInfo("././@LongLink")
    header.type, header.size = tarfile.GNUTYPE_LONGNAME, 300_000_000
    (tmp_path / "header.tgz").write_bytes(gzip.compress(header.tobuf(tarfile.GNU_FORMAT) + bytes(5_000_000), compresslevel=1))
    with tarfile.open(tmp_path / "global.tgz", "w:gz", format=tarfile.PAX_FORMAT, compresslevel=1) as archive:
        for number in range(20):  # headers that tarfile would gather, entry after entry
            archive.fileobj.write(tarfile.TarInfo.create_pax_global_header({f"comment{number}": "c" * 900_000}))
            archive.addfile(tarfile.TarInfo(f"{number}.txt"))
    tracemalloc.start()
    assert "more than 1,048,576 bytes of headers or padding" in refusal(tmp_path / "header.tgz", tmp_path / "header")
    unpack(tmp_path / "global.tgz", tmp_path / "global", max_megabytes=1)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert len(files_under(tmp_path / "global")) == 20
    assert peak < 10_000_000


@pytest.mark.parametrize(
    "content", [{f"{n}.txt": b"" for n in range(11)}, {"/".join("abcdefghijk"): b""}, {"a/" + "./" * n: b"" for n in range(11)}]
)
def test_too_many_entries_or_folders_are_refused(tmp_path, content, monkeypatch):
    monkeypatch.setattr(archives, "MAX_ENTRIES", 10)
    for suffix in (".zip", ".tar"):
        archive = write_archive(tmp_path / f"a{suffix}", content)
        assert "more than the 10 files and folders" in refusal(archive, tmp_path / suffix)


@each_suffix
def test_random_damage_ends_in_a_sentence_or_in_files_inside_the_folder(tmp_path, suffix):
    seed = random.randrange(2**32)
    print(f"seed {seed}")
    chance = random.Random(seed)
    whole = write_archive(tmp_path / f"a{suffix}", {"a/b.txt": b"b" * 700, "a/c.txt": chance.randbytes(300), "d/": b""}).read_bytes()
    archive = tmp_path / f"hurt{suffix}"
    outer = tmp_path / "outer"
    for number in range(60):
        content = bytearray(whole)
        for _ in range(chance.choice([1, 3, 30])):
            content[chance.randrange(len(content))] = chance.randrange(256)
        archive.write_bytes(content[: chance.choice([None, chance.randrange(len(content))])])
        try:
            unpack(archive, outer / str(number), 1)
        except UserError as error:
            assert str(error).isprintable()  # noqa: PT017, an archive that the changes left whole is taken
    archive.write_bytes(b"<html>404 not found</html>" * 100)
    assert "is damaged or was cut short" in refusal(archive, outer / "page")
    assert all(path.parent == outer for path in outer.iterdir())
    assert not any(path.is_symlink() for path in outer.rglob("*"))
