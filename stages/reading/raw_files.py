"""The raw files of a dataset of many: those of a folder, and those in archives that lie in it, each of which counts as a folder.

Reads   raw/, at any depth. A .zip is read where it is, a file at a time; a .tar, .tar.gz or .tgz is unpacked beside raw/ while it is read.
        pack() makes such a zip of a folder: a hundred thousand files cost DVC and the disk more than they hold.

All of it may be a stranger's: a link that leaves the folder and an entry that leaves its archive are refused by name, and so is what would
take the memory.
"""

import os
import re
import shutil
import stat
import zipfile
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from functools import partial
from itertools import takewhile
from pathlib import Path, PurePosixPath, PureWindowsPath
from tempfile import NamedTemporaryFile, mkdtemp

from examples.pictures import MAX_BYTES, is_hidden, is_meant_to_be_one, is_other, looks_like_one
from stages.common.files import alone_with, naming
from stages.reading.archives import DAMAGED, MAX_ENTRIES, MAX_NAME, SUFFIXES, unpack
from stages.reading.contents import SOURCE, LeftOutItems, Notes, printable
from stages.shell.errors import UserError, reason

MAX_TABLE = 1_000_000_000  # bytes of a table in an archive
UNPACKED = (1000, 200)  # megabytes that a tar may take, and how many times its size
OF_DVC = re.compile(r"/files/md5/[0-9a-f]{2}/[0-9a-f]{30}$")  # of DVC's cache, to which a checkout may link
NOT_PICTURES = "not pictures, passed over"
STORED = (1980, 1, 1, 0, 0, 0)  # the first moment that a zip knows


class RawFiles:
    """The names of files below `raw`, as paths with forward slashes: `pictures`, or what is meant to be one, and `others`, which are none.

    Names in an archive begin with that of the archive without its suffix. What can be no item is in `left_out`, what is odd in `notes`.
    """

    def __init__(self, raw: Path, left_out: LeftOutItems, notes: Notes):
        self.raw, self.root, self.left_out, self.notes = raw, raw.resolve(), left_out, notes
        self.opened, self.count = ExitStack(), 0
        self.beside = raw.parent if os.access(raw.parent, os.W_OK) else None  # of a folder that is only looked at: where the system says
        self.pictures, self.empty = list[str](), list[str]()
        self.others, self.passed_over, self.used = set[str](), list[str](), set[str]()
        self.places = dict[str, str | tuple[zipfile.ZipFile, zipfile.ZipInfo]]()  # of files that are elsewhere than their names say
        try:
            self.find(raw, "")
        except BaseException:
            self.close()
            raise
        self.pictures.sort(key=lambda name: name.split("/"))

    def __enter__(self) -> "RawFiles":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self.opened.close()

    def find(self, folder: Path, prefix: str) -> None:
        """Whatever the depth, with no link to a folder followed."""
        waiting, root = [(folder, prefix)], folder.resolve()
        while waiting:
            path, name = waiting.pop()
            with os.scandir(path) as entries:
                found = sorted(entries, key=lambda entry: entry.name)
            if name and all(is_hidden(entry.name) for entry in found):
                self.empty.append(name.rstrip("/"))
            for entry in found:
                if entry.is_dir(follow_symlinks=False) and not is_hidden(entry.name):
                    waiting.append((Path(entry.path), f"{name}{entry.name}/"))
                else:
                    self.add_file(entry, name, root)

    def add_file(self, entry: os.DirEntry[str], prefix: str, root: Path) -> None:
        name = f"{prefix}{entry.name}"
        if entry.name == SOURCE:
            return
        self.refuse_many(name)
        problem = self.problem_of_link(Path(entry.path), name, root) if entry.is_symlink() else ""
        if not problem and not entry.is_file():
            problem = "not a plain file"
        if is_other(entry.name):
            self.add_other(name, not problem and not is_hidden(entry.name))
        elif problem:
            self.left_out.add(name, problem)
        elif not prefix and root == self.root and entry.name.lower().endswith(SUFFIXES):
            self.mount(Path(entry.path))
            return
        elif not is_text(name):
            self.left_out.add(name, "its name has bytes that are not UTF-8: rename it")
        else:
            self.add(name, lambda: start_of(entry.path))
        if root != self.root:
            self.places[name] = entry.path

    def problem_of_link(self, path: Path, name: str, root: Path) -> str:
        try:
            target = path.resolve(strict=True)
        except (OSError, RuntimeError):  # the second of links that go round
            return "a broken link"
        if OF_DVC.search(target.as_posix()):
            return ""
        if not target.is_relative_to(root):
            return f"a link out of the folder, to {target}, which is not followed: put the file itself there"
        if not target.is_file():
            return "a link to a folder, which is not followed"
        self.notes.add("a link to another file of the folder, so that one picture is there twice", f"{name} to {target.relative_to(root)}")
        return ""

    def add(self, name: str, start: Callable[[], bytes]) -> None:
        """Of a name that says nothing the content decides."""
        if is_meant_to_be_one(name) or looks_like_one(start()):
            self.pictures.append(name)
        else:
            self.add_other(name)

    def add_other(self, name: str, is_read: bool = True) -> None:
        """A table or a text is read where it says what pictures are."""
        self.passed_over.append(name)
        if is_read:
            self.others.add(name)

    def tell(self) -> None:
        """What is no picture, but for what was used to read labels."""
        for name in self.passed_over:
            if name not in self.used:
                self.notes.add(NOT_PICTURES, name)

    def refuse_many(self, name: str) -> None:
        self.count += 1
        if self.count > MAX_ENTRIES:
            raise UserError(f"{self.raw} has more than {MAX_ENTRIES:,} files: split it ({printable(name)} is one more).")

    # Archives

    def mount(self, archive: Path) -> None:
        stem = next(archive.name[: -len(suffix)] for suffix in sorted(SUFFIXES, key=len)[::-1] if archive.name.lower().endswith(suffix))
        if (self.raw / stem).is_dir():
            raise UserError(f"{self.raw} holds both {archive.name} and a folder {stem}: remove one of the two.")
        if archive.name.lower().endswith(".zip"):
            self.mount_zip(archive, stem)
            return
        into = self.folder_beside() / stem
        into.mkdir()
        unpack(archive, into, max(UNPACKED[0], UNPACKED[1] * archive.stat().st_size // 10**6))
        inside = [path.name for path in into.iterdir() if not is_hidden(path.name)] == [stem]
        self.find(into, "" if inside else f"{stem}/")

    def folder_beside(self) -> Path:
        """A new one beside raw/ that goes with this object; one that a kill has left goes first."""
        for left in self.raw.parent.glob(f".{self.raw.name}.unpacked*"):
            with suppress(UserError, FileNotFoundError), alone_with(left):
                shutil.rmtree(left, ignore_errors=True)
        folder = Path(mkdtemp(prefix=f".{self.raw.name}.unpacked", dir=self.beside))
        self.opened.callback(shutil.rmtree, folder, ignore_errors=True)
        self.opened.enter_context(alone_with(folder))
        return folder

    def mount_zip(self, archive: Path, stem: str) -> None:
        try:
            opened = self.opened.enter_context(zipfile.ZipFile(archive))
            infos = {name_in_zip(info): info for info in opened.infolist()}
        except DAMAGED as error:
            raise UserError(f"{archive} is damaged or was cut short ({reason(error)}): fetch it again.") from error
        if len(infos) < len(opened.infolist()):
            raise UserError(f"{archive} was refused: it has two entries of one name.")
        for name in infos:
            if problem := problem_of_name(name):
                raise UserError(f"{archive} was refused: its entry '{printable(name)}' {problem}.")
        inside = all(name.startswith((f"{stem}/", "__MACOSX/")) for name in infos)
        empty = {name for name in infos if name.endswith("/")}
        for name in infos if empty else ():
            parent = name
            while not name.endswith("/") and (parent := parent.rpartition("/")[0]):
                empty.discard(f"{parent}/")
        for entry, info in sorted(infos.items()):
            name = entry if inside else f"{stem}/{entry}"
            self.refuse_many(name)
            if any(map(is_hidden, entry.rstrip("/").split("/"))):
                self.add_other(name, is_read=False)
            elif entry.endswith("/"):
                self.empty += [name.rstrip("/")] if entry in empty else []
            elif problem := problem_of_entry(info):
                self.left_out.add(name, problem)
            elif name in self.places:
                raise UserError(f"{archive} holds {printable(name)}, which another archive holds too: remove one of the two.")
            else:
                self.places[name] = opened, info
                if is_other(entry):
                    self.add_other(name)
                else:
                    self.add(name, partial(self.start, name))

    # What the files hold

    def read(self, name: str, most: int = MAX_BYTES) -> bytes:
        """No more than `most` bytes and one. Raises ValueError where a file of an archive is damaged."""
        place = self.places.get(name) or f"{self.raw}/{name}"
        if isinstance(place, str):
            with open(place, "rb") as file:  # noqa: PTH123  # of a hundred thousand files a Path takes as long as its file
                return file.read(most + 1)
        try:
            with place[0].open(place[1]) as member:
                return member.read(most + 1)
        except DAMAGED as error:
            raise ValueError(f"damaged in its archive: {reason(error)}") from error

    def size(self, name: str) -> int:
        """In bytes, as the archive says where it is in one."""
        place = self.places.get(name) or f"{self.raw}/{name}"
        return os.stat(place).st_size if isinstance(place, str) else place[1].file_size  # noqa: PTH116

    def start(self, name: str) -> bytes:
        with suppress(ValueError):
            return self.read(name, 32)
        return b""

    @contextmanager
    def as_file(self, name: str) -> Iterator[Path]:
        """A path under which a file can be opened, for a while where it is in an archive."""
        place = self.places.get(name) or f"{self.raw}/{name}"
        if isinstance(place, str):
            yield Path(place)
            return
        if place[1].file_size > MAX_TABLE:
            raise UserError(f"{name} has more than {MAX_TABLE:,} bytes: put it beside the archive.")
        with NamedTemporaryFile(dir=self.beside, prefix=f".{self.raw.name}.", suffix=PurePosixPath(name).suffix) as file:
            with place[0].open(place[1]) as member:
                shutil.copyfileobj(member, file)
            file.flush()
            yield Path(file.name)

    def base(self, folders: list[str]) -> str:
        """What all names begin with before the folders that are asked for, or before those that tell pictures apart: an archive often has
        one folder around all of its content.
        """
        if not self.pictures:
            return ""
        first, last = (PurePosixPath(self.pictures[place]).parent.parts for place in (0, -1))
        common = sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(first, last, strict=False)))
        bases = ["".join(f"{part}/" for part in first[:length]) for length in range(common + 1)]
        if folders:
            return next((base for base in bases if any(name.startswith(f"{base}{folders[0]}/") for name in self.pictures)), "")
        if len(bases) > 1 and all("/" not in name[len(bases[-1]) :] for name in self.pictures):
            return bases[-2]  # pictures of one folder alone: it is their class
        return bases[-1]


def is_text(name: str) -> bool:
    return name.isascii() or not any("\ud800" <= sign <= "\udfff" for sign in name)


def start_of(path: str) -> bytes:
    with Path(path).open("rb") as file:
        return file.read(32)


def name_in_zip(info: zipfile.ZipInfo) -> str:
    """With forward slashes. macOS writes UTF-8 without saying so, which Python reads as signs of 1981."""
    name = info.orig_filename
    if not info.flag_bits & 0x800 and not name.isascii():
        with suppress(UnicodeError):
            name = name.encode("cp437").decode("utf-8")
    return name.replace("\\", "/").removeprefix("./")


def problem_of_name(name: str) -> str:
    """Why an archive with such an entry is refused; nothing is written under the name, so that it may hold any signs."""
    path = PureWindowsPath(name)
    if len(name) > MAX_NAME:
        return "has a name that is too long"
    return "leaves the folder" if path.anchor or ".." in path.parts else ""


def problem_of_entry(info: zipfile.ZipInfo) -> str:
    if stat.S_IFMT(info.external_attr >> 16) not in (0, stat.S_IFREG):
        return "a link or another special file in an archive, which is not followed"
    if info.flag_bits & 1:
        return "encrypted in its archive"
    if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        return "compressed by another method than deflate"
    if not is_text(name_in_zip(info)):
        return "its name has bytes that are not UTF-8"
    return ""


def pack(folder: Path, archive: Path) -> Counter[str]:
    """Writes the folder's files into a zip, as they are and not compressed: the same files give the same bytes. What desktops leave is left
    out, and a link stands for its file if that is in the folder too. Returns how many files of each suffix it holds; UserError names a link
    that leaves the folder.
    """
    left_out = LeftOutItems()
    files, counts = RawFiles(folder, left_out, Notes()), Counter[str]()
    if left_out.count:
        raise UserError(f"{folder} cannot be packed: {'; '.join(left_out.examples)}.")
    if files.places:
        raise UserError(f"{folder} holds an archive: give that alone, or unpack it.")
    kept = [name for name in files.others if not any(map(is_hidden, name.split("/")))]
    with naming(archive), zipfile.ZipFile(archive, "x", zipfile.ZIP_STORED, strict_timestamps=True) as packed:
        for name in sorted([*files.pictures, *kept]):
            info = zipfile.ZipInfo(name, STORED)
            info.create_system, info.external_attr, info.file_size = 3, 0o644 << 16, (folder / name).stat().st_size
            with (folder / name).open("rb") as source, packed.open(info, "w") as target:
                shutil.copyfileobj(source, target, 1 << 20)
            counts[PurePosixPath(name).suffix.lower()] += 1
    return counts
