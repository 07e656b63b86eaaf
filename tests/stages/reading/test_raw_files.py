"""Raw files of a folder and of archives in it: the same, whatever they are in; links and entries that leave it are refused."""

import os
import stat
import tarfile
import zipfile
from pathlib import Path

import pytest

from stages.reading.contents import LeftOutItems, Notes
from stages.reading.raw_files import RawFiles, pack
from stages.shell.errors import UserError

JPEG = b"\xff\xd8\xff\xe0 a picture"
FILES = {"train/cat/1.jpg": JPEG + b"1", "train/dog/a b.jpg": JPEG + b"2", "test/cat/\u00fc.jpg": JPEG + b"3", "labels.csv": b"a,b"}


@pytest.fixture
def raw(tmp_path):
    raw = tmp_path / "pets" / "raw"
    raw.mkdir(parents=True)
    return raw


def lay(folder, files=FILES):
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)


def read(raw):
    with RawFiles(raw, LeftOutItems(), Notes()) as files:
        with files.as_file(next(iter(files.others))) as path:
            table = path.read_bytes()
        base = files.base(["train"])
        return {name.removeprefix(base): files.read(name) for name in files.pictures}, table, files.base([])


def as_zip(path, files, **options):
    with zipfile.ZipFile(path, "w", **options) as archive:
        for name, content in files.items():
            archive.writestr(name, content)


def as_tar(path, files, mode):
    lay(path.parent.parent / "beside", files)
    with tarfile.open(path, mode) as archive:
        archive.add(path.parent.parent / "beside", arcname="outer")


def zip_of_windows(raw):
    as_zip(raw / "pets.zip", {f"My Pets\\{name}".replace("/", "\\"): content for name, content in FILES.items()})


def zip_of_a_mac(raw):
    """With names in UTF-8 that are not said to be."""
    path = raw / "pets.zip"
    as_zip(
        path,
        {f"pets/{name}": content for name, content in FILES.items()} | {"__MACOSX/pets/train/cat/._1.jpg": b"x", "pets/.DS_Store": b""},
    )
    content = path.read_bytes()
    for mark, flags in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        place = content.index(mark)
        while place >= 0:
            low = int.from_bytes(content[place + flags : place + flags + 2], "little") & ~0x800
            content = content[: place + flags] + low.to_bytes(2, "little") + content[place + flags + 2 :]
            place = content.find(mark, place + 1)
    path.write_bytes(content)


LAID = {
    "folder": lay,
    "outer folder": lambda raw: lay(raw / "a" / "b"),
    "zip": lambda raw: as_zip(raw / "all.zip", FILES, compression=zipfile.ZIP_DEFLATED),
    "windows": zip_of_windows,
    "mac": zip_of_a_mac,
    "tar": lambda raw: as_tar(raw / "pets.tar", FILES, "w"),
    "tgz": lambda raw: as_tar(raw / "pets.tgz", FILES, "w:gz"),
}


@pytest.mark.parametrize("laid", LAID)
def test_the_same_pictures_are_read_from_whatever_they_are_in(raw, laid):
    LAID[laid](raw)
    pictures, table, base = read(raw)
    assert pictures == {name: content for name, content in FILES.items() if name != "labels.csv"} and table == b"a,b"
    assert base == {"folder": "", "outer folder": "a/b/", "zip": "all/", "windows": "pets/My Pets/", "mac": "pets/"}.get(
        laid, "pets/outer/"
    )
    assert [path.name for path in raw.parent.iterdir() if path.name != "beside"] == ["raw"], "what was unpacked is gone"


def test_two_archives_are_two_folders_whether_their_entries_say_so_or_not(raw):
    as_zip(raw / "train.zip", {"train/cat/1.jpg": JPEG})
    as_zip(raw / "test.zip", {"cat/1.jpg": JPEG})
    with RawFiles(raw, LeftOutItems(), Notes()) as files:
        assert files.pictures == ["test/cat/1.jpg", "train/cat/1.jpg"]


def test_what_a_kill_has_left_of_an_unpacked_tar_goes_with_the_next_run(raw):
    left = raw.parent / ".raw.unpackedxyz"
    (left / "pets").mkdir(parents=True)
    as_tar(raw / "pets.tar", FILES, "w")
    read(raw)
    assert not left.exists()


def test_links_that_stay_in_the_folder_are_followed_and_others_named(raw, tmp_path, monkeypatch):
    monkeypatch.setattr("stages.reading.contents.NUM_EXAMPLES", 9)
    lay(raw)
    (tmp_path / "secret.txt").write_bytes(JPEG)
    cache = tmp_path / "cache/files/md5/ab" / ("c" * 30)
    cache.parent.mkdir(parents=True)
    cache.write_bytes(JPEG)
    links = {"in.jpg": "cat/1.jpg", "out.jpg": tmp_path / "secret.txt", "gone.jpg": "x", "round.jpg": "round.jpg", "folder.jpg": "cat"}
    for name, target in (links | {"cached.jpg": cache, "1.txt": tmp_path / "secret.txt"}).items():
        (raw / "train" / name).symlink_to(target)
    os.mkfifo(raw / "train" / "pipe.jpg")
    (raw / "train.zip").symlink_to(tmp_path / "secret.txt")
    with RawFiles(raw, LeftOutItems(), notes := Notes()) as files:
        assert [name for name in files.pictures if name.count("/") == 1] == ["train/cached.jpg", "train/in.jpg"]
        assert "train/1.txt" not in files.others
    (what, (_, examples)) = next(iter(notes.found.items()))
    assert what.startswith("a link to another file of the folder") and examples == ["train/in.jpg to train/cat/1.jpg"]
    told = dict(example.split(": ", 1) for example in files.left_out.examples)
    assert files.left_out.count == 6 and told["train/gone.jpg"] == told["train/round.jpg"] == "a broken link"
    assert told["train.zip"].startswith(f"a link out of the folder, to {tmp_path}/secret.txt")


def link_in_zip(raw):
    info = zipfile.ZipInfo("a/link.jpg")
    info.external_attr = (stat.S_IFLNK | 0o777) << 16
    with zipfile.ZipFile(raw / "pets.zip", "w") as archive:
        archive.writestr(info, "/etc/passwd")
        archive.writestr("a/1.jpg", JPEG)


def test_a_link_in_a_zip_is_no_picture_and_its_other_files_are(raw):
    link_in_zip(raw)
    with RawFiles(raw, LeftOutItems(), Notes()) as files:
        assert files.pictures == ["pets/a/1.jpg"] and "a link or another special file" in files.left_out.examples[0]


def damaged(raw):
    as_zip(raw / "pets.zip", FILES)
    (raw / "pets.zip").write_bytes((raw / "pets.zip").read_bytes()[:-30])


def twice(raw):
    with zipfile.ZipFile(raw / "pets.zip", "w") as archive:
        archive.writestr("a.jpg", JPEG)
        with pytest.warns(UserWarning, match="Duplicate name"):
            archive.writestr("a.jpg", JPEG)


@pytest.mark.parametrize(
    ("spoil", "sentence"),
    [
        (lambda raw: as_zip(raw / "pets.zip", {"../a.jpg": JPEG}), "its entry '../a.jpg' leaves the folder"),
        (lambda raw: as_zip(raw / "pets.zip", {"C:\\a.jpg": JPEG}), "its entry 'C:/a.jpg' leaves the folder"),
        (lambda raw: as_tar(raw / "pets.tar", {"a\\b.jpg": JPEG}, "w"), "has a backslash"),
        (damaged, "pets.zip is damaged or was cut short"),
        (twice, "it has two entries of one name"),
        (lambda raw: (as_zip(raw / "pets.zip", FILES), (raw / "pets").mkdir()), "holds both pets.zip and a folder pets"),
    ],
)
def test_an_archive_that_leaves_the_folder_or_is_damaged_is_refused(raw, spoil, sentence):
    spoil(raw)
    with pytest.raises(UserError) as refused:
        RawFiles(raw, LeftOutItems(), Notes())
    assert sentence in str(refused.value)
    assert [path.name for path in raw.parent.iterdir() if path.name != "beside"] == ["raw"]


def test_a_folder_is_packed_into_the_same_bytes_whenever_and_read_back(raw, tmp_path):
    folder = tmp_path / "my pets"
    lay(folder)
    (folder / "train/cat/.DS_Store").write_bytes(b"x")
    (folder / "train/cat/2.jpg").symlink_to("1.jpg")
    counts = pack(folder, raw / "my pets.zip")
    assert counts == {".jpg": 4, ".csv": 1}
    os.utime(folder / "labels.csv", (0, 0))
    pack(folder, tmp_path / "again.zip")
    assert (tmp_path / "again.zip").read_bytes() == (raw / "my pets.zip").read_bytes()
    pictures, table, base = read(raw)
    assert pictures == {name: content for name, content in FILES.items() if name != "labels.csv"} | {"train/cat/2.jpg": JPEG + b"1"}
    assert (table, base) == (b"a,b", "my pets/") and not Path(tmp_path / "my pets.zip").exists()


def test_a_folder_with_a_link_that_leaves_it_is_not_packed(raw, tmp_path):
    lay(tmp_path / "pets2")
    (tmp_path / "pets2/a.jpg").symlink_to("/etc/hostname")
    with pytest.raises(UserError, match=r"cannot be packed: a\.jpg: a link out of the folder"):
        pack(tmp_path / "pets2", raw / "pets.zip")
    assert not any(raw.iterdir())
