"""Archives that are what they say come out whole; archives that a stranger could send are refused by the entry's name."""

import gzip
import io
import random
import stat
import struct
import tarfile
import tracemalloc
import warnings
import zipfile
from pathlib import Path

import pytest

from stages.common.errors import UserError
from stages.reading import archives
from stages.reading.archives import unpack

GOOD = {"photos/ants/one.jpg": b"1" * 1000, "photos/ants/two words.jpg": b"2" * 70_000, "photos/empty": b""}
SUFFIXES = [".zip", ".tar", ".tar.gz", ".tgz"]


def write_archive(path: Path, content: dict[str, bytes]) -> Path:
    """Any names are accepted, also ones that no honest tool would write.

    A name that ends in / is a folder; a tab at the end is dropped, so that a dict can hold one name twice.
    """
    if path.suffix == ".zip":
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as zipped, warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of duplicate names
            for name, data in content.items():
                zipped.writestr(zipfile.ZipInfo(name.rstrip("\t")), data)
        return path
    with tarfile.open(path, "w:gz" if path.name.endswith("gz") else "w") as tarred:
        for name, data in content.items():
            add_to_tar(tarred, name.rstrip("\t"), data)
    return path


def add_to_tar(tarred: tarfile.TarFile, name: str, data: bytes = b"", kind: bytes = tarfile.REGTYPE, target: str = "") -> None:
    info = tarfile.TarInfo(name)
    info.type, info.size, info.linkname = (tarfile.DIRTYPE if name.endswith("/") else kind), len(data), target
    info.mode, info.uid, info.mtime = 0o6777, 12345, 1
    tarred.addfile(info, io.BytesIO(data))


def files_under(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def refusal(archive: Path, into: Path, max_megabytes: int = 1) -> str:
    with pytest.raises(UserError) as caught:
        unpack(archive, into, max_megabytes)
    assert archive.name in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_an_honest_archive_comes_out_whole(tmp_path: Path, suffix: str) -> None:
    archive = write_archive(tmp_path / f"a{suffix}", {"photos/": b"", "photos/bees/": b"", **GOOD})
    unpack(archive, tmp_path / "out", 1)
    assert files_under(tmp_path / "out") == GOOD
    assert (tmp_path / "out/photos/bees").is_dir()


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_names_that_begin_with_a_dot_and_slash_are_fine(tmp_path: Path, suffix: str) -> None:
    unpack(write_archive(tmp_path / f"a{suffix}", {"./": b"", "./x//y.txt": b"y"}), tmp_path / "out", 1)
    assert files_under(tmp_path / "out") == {"x/y.txt": b"y"}


def test_modes_and_times_of_the_archive_are_not_taken_over(tmp_path: Path) -> None:
    unpack(write_archive(tmp_path / "a.tar", GOOD), tmp_path / "out", 1)
    plain = tmp_path / "plain"
    plain.touch()
    for path in (tmp_path / "out").rglob("*.jpg"):
        assert stat.S_IMODE(path.stat().st_mode) == stat.S_IMODE(plain.stat().st_mode)
        assert path.stat().st_mtime > 1_000_000


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("../outside.txt", "leaves the folder"),
        ("a/../../outside.txt", "leaves the folder"),
        ("a/..", "leaves the folder"),
        ("/tmp/outside.txt", "absolute path"),
        ("//server/outside.txt", "absolute path"),
        ("C:/outside.txt", "absolute path"),
        ("c:outside.txt", "absolute path"),
        ("..\\outside.txt", "backslash"),
        ("a\\b.txt", "backslash"),
        ("a\nb.txt", "control character"),
        ("\x1b[2Jb.txt", "control character"),
        ("x" * 300, "too long"),
        ("/".join(["x" * 50] * 30), "too long"),
    ],
)
def test_an_entry_with_a_bad_name_is_refused_by_name(tmp_path: Path, suffix: str, name: str, reason: str) -> None:
    archive = write_archive(tmp_path / f"a{suffix}", {"good.txt": b"good", name: b"evil"})
    (tmp_path / "in").mkdir()
    message = refusal(archive, tmp_path / "in/out")
    assert reason in message
    assert repr(name[:200])[1:-1] in message
    assert files_under(tmp_path / "in") == {"out/good.txt": b"good"}
    assert "\n" not in message and "\x1b" not in message


def test_a_name_with_a_zero_byte_is_refused_rather_than_shortened(tmp_path: Path) -> None:
    archive = write_archive(tmp_path / "a.zip", {"pictureX.txt": b"x"})
    archive.write_bytes(archive.read_bytes().replace(b"pictureX.txt", b"picture\0.txt"))
    assert "picture\\x00.txt" in refusal(archive, tmp_path / "out")


def test_a_zip_entry_without_a_name_is_refused(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as zipped:
        zipped.writestr(zipfile.ZipInfo(""), b"x")
    assert "has no name" in refusal(tmp_path / "a.zip", tmp_path / "out")


def test_a_tar_name_that_is_not_utf8_is_refused(tmp_path: Path) -> None:
    archive = tmp_path / "a.tar"
    with tarfile.open(archive, "w", format=tarfile.GNU_FORMAT) as tarred:
        add_to_tar(tarred, "caf\udce9.txt", b"x")
    assert "not UTF-8" in refusal(archive, tmp_path / "out")


@pytest.mark.parametrize("suffix", [".tar", ".tar.gz", ".tgz"])
@pytest.mark.parametrize(
    ("kind", "target", "reason"),
    [
        (tarfile.SYMTYPE, "/etc/passwd", "is a link"),
        (tarfile.SYMTYPE, "good.txt", "is a link"),
        (tarfile.LNKTYPE, "good.txt", "is a link"),
        (tarfile.CHRTYPE, "", "is a device"),
        (tarfile.BLKTYPE, "", "is a device"),
        (tarfile.FIFOTYPE, "", "is a device, a pipe"),
        (b"Z", "", "special kind"),
    ],
)
def test_a_tar_entry_that_is_no_file_or_folder_is_refused(tmp_path: Path, suffix: str, kind: bytes, target: str, reason: str) -> None:
    archive = tmp_path / f"a{suffix}"
    with tarfile.open(archive, "w:gz" if suffix != ".tar" else "w") as tarred:
        add_to_tar(tarred, "good.txt", b"good")
        add_to_tar(tarred, "sub/odd", kind=kind, target=target)
    message = refusal(archive, tmp_path / "out")
    assert "'sub/odd'" in message and reason in message
    assert not (tmp_path / "out/sub").exists()


def test_a_sparse_tar_entry_is_refused(tmp_path: Path) -> None:
    archive = tmp_path / "a.tar"
    with tarfile.open(archive, "w", format=tarfile.PAX_FORMAT) as tarred:
        info = tarfile.TarInfo("holes")
        info.pax_headers = {"GNU.sparse.map": "0,1", "GNU.sparse.size": str(10**12), "GNU.sparse.name": "holes"}
        info.size = 1
        tarred.addfile(info, io.BytesIO(b"x"))
    assert "'holes' is a sparse file" in refusal(archive, tmp_path / "out")


@pytest.mark.parametrize(
    ("kind", "reason"),
    [(stat.S_IFLNK, "is a link"), (stat.S_IFCHR, "is a device"), (stat.S_IFIFO, "a pipe"), (stat.S_IFSOCK, "special kind")],
)
def test_a_zip_entry_that_is_no_file_or_folder_is_refused(tmp_path: Path, kind: int, reason: str) -> None:
    info = zipfile.ZipInfo("sub/odd")
    info.external_attr = (kind | 0o777) << 16
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as zipped:
        zipped.writestr(info, "/etc/passwd")
    message = refusal(tmp_path / "a.zip", tmp_path / "out")
    assert "'sub/odd'" in message and reason in message


def test_an_encrypted_zip_entry_is_refused(tmp_path: Path) -> None:
    archive = write_archive(tmp_path / "a.zip", {"secret.txt": b"x"})
    content = bytearray(archive.read_bytes())
    content[content.index(b"PK\x01\x02") + 8] |= 1
    archive.write_bytes(content)
    assert "'secret.txt' is encrypted" in refusal(archive, tmp_path / "out")


def test_a_zip_compressed_by_another_method_is_refused(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w", zipfile.ZIP_LZMA) as zipped:
        zipped.writestr("x.txt", b"x" * 100)
    assert "'x.txt' is compressed by method 14 (accepted: stored, deflated)" in refusal(tmp_path / "a.zip", tmp_path / "out")


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("names", [("a/b.txt", "a/b.txt\t"), ("a/b.txt", "a//b.txt"), ("a", "a/b.txt"), ("a/b.txt", "a"), ("a", "a/")])
def test_two_entries_of_one_name_are_refused(tmp_path: Path, suffix: str, names: tuple[str, str]) -> None:
    archive = write_archive(tmp_path / f"a{suffix}", {name: b"" if name.endswith("/") else b"x" for name in names})
    message = refusal(archive, tmp_path / "out")
    shown = "a" if suffix != ".zip" and names[1] == "a/" else names[1].rstrip("\t")  # tarfile drops a folder's slash
    assert f"{shown!r} has the name of an entry before it" in message


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_bomb_is_stopped_at_the_limit(tmp_path: Path, suffix: str) -> None:
    archive = write_archive(tmp_path / f"a{suffix}", {"first.txt": b"x", "bomb.bin": bytes(30_000_000)})
    message = refusal(archive, tmp_path / "out", max_megabytes=2)
    assert "'bomb.bin' takes it over 2 MB" in message and "max_megabytes" in message
    assert sum(len(data) for data in files_under(tmp_path / "out").values()) <= 2_000_000


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_the_limit_is_on_all_entries_together_and_can_be_reached_exactly(tmp_path: Path, suffix: str) -> None:
    content = {"a": b"1" * 600_000, "b": b"2" * 400_000}
    unpack(write_archive(tmp_path / f"a{suffix}", content), tmp_path / "out", 1)
    assert files_under(tmp_path / "out") == content
    more = write_archive(tmp_path / f"b{suffix}", {**content, "c": b"3"})
    assert "'c' takes it over 1 MB" in refusal(more, tmp_path / "more")


def test_a_zip_that_lies_about_sizes_cannot_pass_the_limit(tmp_path: Path) -> None:
    """Many entries that share one compressed block, each with a small size in the headers, as overlapping bombs do."""
    archive = write_archive(tmp_path / "a.zip", {"bomb.bin": bytes(3_000_000)})
    content = bytearray(archive.read_bytes())
    for at in (content.index(b"PK\x01\x02") + 24, content.index(b"PK\x03\x04") + 22):
        content[at : at + 4] = struct.pack("<I", 10)
    archive.write_bytes(content)
    message = refusal(archive, tmp_path / "out")
    assert "damaged" in message or "takes it over" in message
    assert sum(len(data) for data in files_under(tmp_path / "out").values()) <= 1_000_000


def test_a_tar_that_swells_in_its_headers_is_stopped_in_little_memory(tmp_path: Path) -> None:
    header = tarfile.TarInfo("././@LongLink")
    header.type, header.size = tarfile.GNUTYPE_LONGNAME, 300_000_000
    with gzip.open(tmp_path / "a.tar.gz", "wb", compresslevel=1) as packed:
        packed.write(header.tobuf(tarfile.GNU_FORMAT))
        for _ in range(60):
            packed.write(b"n" * 1_000_000)
    tracemalloc.start()
    message = refusal(tmp_path / "a.tar.gz", tmp_path / "out")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert "more than 1,048,576 bytes of headers or padding" in message
    assert peak < 20_000_000


def test_padding_after_the_end_of_a_tar_counts_too(tmp_path: Path) -> None:
    inner = write_archive(tmp_path / "a.tar", GOOD).read_bytes()
    (tmp_path / "a.tar.gz").write_bytes(gzip.compress(inner + bytes(30_000_000)))
    assert "more than 1,048,576 bytes of headers or padding" in refusal(tmp_path / "a.tar.gz", tmp_path / "out")


def test_a_tars_global_headers_are_not_gathered_entry_after_entry(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "a.tar.gz", "w:gz", format=tarfile.PAX_FORMAT, compresslevel=1) as archive:
        for number in range(20):
            comment = {f"comment{number}": "c" * 900_000}
            archive.fileobj.write(tarfile.TarInfo.create_pax_global_header(comment))
            archive.addfile(tarfile.TarInfo(f"{number}.txt"))
    tracemalloc.start()
    unpack(tmp_path / "a.tar.gz", tmp_path / "out", max_megabytes=1)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert len(list((tmp_path / "out").iterdir())) == 20
    assert peak < 10_000_000


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize(
    "content", [{f"{n}.txt": b"" for n in range(11)}, {"/".join("abcdefghijk"): b""}, {"a/" + "./" * n: b"" for n in range(11)}]
)
def test_too_many_entries_or_folders_are_refused(
    tmp_path: Path, suffix: str, content: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(archives, "MAX_ENTRIES", 10)
    archive = write_archive(tmp_path / f"a{suffix}", content)
    assert "more than the 10 entries" in refusal(archive, tmp_path / "out")


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_an_archive_cut_anywhere_is_named_and_never_taken_for_whole(tmp_path: Path, suffix: str) -> None:
    whole = write_archive(tmp_path / f"whole{suffix}", GOOD).read_bytes()
    # A tar ends in two blocks of zeros and padding; the first block is all that a reader needs.
    needed = (len(whole.rstrip(b"\0")) // 512 + 2) * 512 if suffix == ".tar" else len(whole)
    archive = tmp_path / f"cut{suffix}"
    for kept in [0, 1, 100, *range(512, needed, 512), needed - 1]:
        archive.write_bytes(whole[:kept])
        message = refusal(archive, tmp_path / "out" / str(kept))
        assert "is damaged or was cut short" in message, kept


def test_a_gzipped_tar_without_an_end_mark_is_damaged(tmp_path: Path) -> None:
    inner = write_archive(tmp_path / "a.tar", {"a.txt": b"a" * 512, "b.txt": b"b" * 512}).read_bytes()
    for kept in (1024, 2048):
        (tmp_path / "a.tgz").write_bytes(gzip.compress(inner[:kept]))
        assert "the mark at its end is missing" in refusal(tmp_path / "a.tgz", tmp_path / f"out{kept}")


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_bytes_that_are_no_archive_are_named(tmp_path: Path, suffix: str) -> None:
    archive = tmp_path / f"page{suffix}"
    archive.write_bytes(b"<html>404 not found</html>" * 100)
    assert "is damaged or was cut short" in refusal(archive, tmp_path / "out")


def test_a_changed_byte_in_a_zip_or_gzip_is_found_by_its_own_checksum(tmp_path: Path) -> None:
    noise = random.Random(0).randbytes(50_000)
    for suffix in (".zip", ".tgz"):
        archive = write_archive(tmp_path / f"a{suffix}", {"noise.bin": noise})
        content = bytearray(archive.read_bytes())
        content[25_000] ^= 1
        archive.write_bytes(content)
        assert "is damaged" in refusal(archive, tmp_path / f"out{suffix}")


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_random_damage_ends_in_a_sentence_or_in_files_inside_the_folder(tmp_path: Path, suffix: str) -> None:
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
        archive.write_bytes(content)
        try:
            unpack(archive, outer / str(number), 1)
        except UserError as error:
            assert "\n" not in str(error)  # noqa: PT017, an archive that the changes left whole is taken
    assert all(path.parent == outer for path in outer.iterdir())
    assert not any(path.is_symlink() for path in outer.rglob("*"))
