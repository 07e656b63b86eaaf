"""Reads pictures for models, with numpy and Pillow alone: the one decoder of Python, for preprocessing and for those who ask.

A file is known by its content and not by its name. What comes out is upright (EXIF), RGB of 8 bits, and on white where it was transparent;
of an animation the first frame, of several pages the first page. What is too large in bytes, pixels or scans is refused before it is
decoded: a picture may be a stranger's. HEIC is read where pillow-heif is installed.
"""

import contextlib
import functools
import io
import math
import re
from collections.abc import Callable
from itertools import islice
from pathlib import Path
from typing import IO, NamedTuple

import numpy as np
from PIL import Image, TiffImagePlugin

FORMATS = ("JPEG", "MPO", "PNG", "WEBP", "BMP", "TIFF", "GIF", "AVIF", "JPEG2000", "PPM")  # as Pillow calls them
MAX_BYTES = 100_000_000
MAX_PIXELS = 50_000_000  # a larger picture is a mistake or an attack: hundreds of MB once unpacked
MAX_SCANS = 32  # of a JPEG, each of which goes over all pixels: cameras and encoders write 20 at most
MAX_SEGMENTS = 500  # of a JPEG: Pillow joins some of them one by one
MAX_TILES = 4096  # of JPEG 2000; strips and tiles of TIFF are cheaper
MAX_STRIPS = 65_536
MIN_BLOCK, MIN_PRECINCT = 10, 6  # of JPEG 2000, in bits: pixels of a code block, a precinct's side in full size; each takes memory unread
SMALL_RANGE = 1 << 14  # of greys of 16 bits: values below a quarter of their range are nearly black
MIN_SHOWN, MIN_SIDE = 0.2, 8  # of a picture, the part that the middle cut shows; the shorter side in pixels

# By names: what lies between pictures and is none, and what is meant to be one. Of other names the content decides.
DESKTOPS = ("thumbs.db", "desktop.ini", "__macosx")
OTHER_NAME = re.compile(
    r"\.(?:xml|txt|jsonl?|csv|tsv|md|rst|html?|ya?ml|toml|ini|cfg|log|db|lnk|url|pdf|docx?|xlsx?|od[ts]|mat|np[yz]|pkl|pickle|pth?|onnx|h5|"
    r"parquet|names|data|cache|py|ipynb|m|sh|mp[34]|mov|avi|mkv|wav|dvc)\Z",
    re.IGNORECASE,
)
PICTURE_NAME = re.compile(
    r"\.(?:jpe?g|jpe|jfif|a?png|webp|bmp|dib|tiff?|gif|avif|hei[cf]|jp2|j2k|jpx|jxl|p[pgbn]m|mpo|svg)\Z",
    re.IGNORECASE,
)
# What files begin with.
STARTS = (b"\xff\xd8\xff", b"\x89PNG", b"GIF8", b"BM", b"II*\0", b"MM\0*", b"\0\0\0\x0cjP  ", b"\xff\x4f\xff\x51")
OTHERS = (
    (re.compile(rb"\Z"), "an empty file"),
    (re.compile(rb"version https://git-lfs"), "a Git LFS pointer: run git lfs pull"),
    (re.compile(rb"(?:\.\./)*\.?git/annex/|/annex/objects/"), "a git-annex pointer: run git annex get"),
    (re.compile(rb"(?s).{0,1000}?<svg[\s>]"), "SVG, a drawing without pixels: export it as PNG"),
    (re.compile(rb"(?is)\s*(?:<!--.{0,500}?-->\s*)?<(?:!doctype html|html|head|body)"), "HTML, a web page that was saved under this name"),
    (re.compile(rb"\xff\x0a|\0\0\0\x0cJXL "), "JPEG XL: convert it to JPEG or PNG"),
    (re.compile(rb"8BPS"), "a Photoshop file: export it as PNG"),
    (re.compile(rb"%PDF"), "a PDF: export its pages as pictures"),
    (re.compile(rb"PK\x03\x04|\x1f\x8b|7z\xbc\xaf|Rar!"), "an archive: unpack it"),
    (re.compile(rb"(?s).{128}DICM"), "DICOM: export it as PNG"),
)
HEIC = "HEIC, as iPhones write it: convert it to JPEG, or install pillow-heif"
CUT_SHORT = "cut short: the file ends before the picture does"
UNKNOWN = "of no format that is read"
HEIC_BRANDS = {b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs"}
MARK = re.compile(rb"\xff+([^\x00\xff\xd0-\xd7])")  # what starts a segment of a JPEG; within a scan's data nothing else has this form
TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


class BadPicture(ValueError):
    """What cannot be read as a picture; the message says why, without a full stop."""


class Note(NamedTuple):
    """What was done to a picture, or what is odd in it: the same words for all of which it is true, and of this one the details."""

    what: str
    detail: str = ""

    def __str__(self) -> str:
        return f"{self.what} ({self.detail})" if self.detail else self.what


class Picture(NamedTuple):
    """RGB of 8 bits, upright."""

    image: Image.Image
    notes: tuple[Note, ...] = ()


def is_hidden(name: str) -> bool:
    """Whether a file or folder of this name, without a path, is hidden or what a desktop leaves."""
    return name.startswith(".") or name.lower() in DESKTOPS


def is_other(name: str) -> bool:
    """Whether a file is, by its name, none that is meant to be a picture: hidden, of a desktop, or a text beside pictures."""
    return is_hidden(name.rpartition("/")[2]) or OTHER_NAME.search(name) is not None


def is_meant_to_be_one(name: str) -> bool:
    """Whether a file has a picture's name, whatever it holds."""
    return PICTURE_NAME.search(name) is not None


def looks_like_one(start: bytes) -> bool:
    """Whether a file without a picture's name begins as a picture does (32 bytes are enough)."""
    is_webp, is_avif = start[:4] == b"RIFF" and start[8:12] == b"WEBP", start[4:12] in (b"ftypavif", b"ftypavis")
    is_ppm = re.match(rb"P[1-6][\s#]", start) is not None
    return start.startswith(STARTS) or is_webp or is_avif or is_ppm or is_heic(start)


def read_bytes(file: Path | IO[bytes]) -> bytes:
    """No more than decode() takes, and one byte."""
    if isinstance(file, Path):
        with file.open("rb") as opened:
            return opened.read(MAX_BYTES + 1)
    return file.read(MAX_BYTES + 1)


def is_transparent(image: Image.Image) -> bool:
    return "transparency" in image.info or "A" in image.getbands()


def on_ground(image: Image.Image, colour: str = "white") -> Image.Image:
    """RGB; what is transparent lets the ground be seen."""
    if not is_transparent(image):
        return image.convert("RGB")
    flat, layered = Image.new("RGB", image.size, colour), image.convert("RGBA")
    flat.paste(layered, mask=layered.getchannel("A"))
    return flat


def decode(content: bytes, flatten: Callable[[Image.Image], Image.Image] = on_ground) -> Picture:
    """The picture in a file's bytes; `flatten` makes RGB of what may be transparent. Raises BadPicture.

    Callers silence Pillow's warnings, where they do so for all threads at once.
    """
    if len(content) > MAX_BYTES:
        raise BadPicture(f"more than the {MAX_BYTES:,} bytes that are read")
    if content[:2] == b"\xff\xd8":
        scans_of(content)
    refuse_crumbs(content)
    try:
        with Image.open(io.BytesIO(content), formats=known_formats(content)) as opened:
            refuse_large(opened)
            opened.load()
            image, notes = of_8_bits(opened)
            flat = flatten(image)
            with contextlib.suppress(Exception):  # damaged EXIF is no reason to refuse a picture
                if (turn := TURNS.get(opened.getexif().get(0x0112, 1))) is not None:
                    flat = flat.transpose(turn)
            return Picture(flat, (*notes, *of_frames(opened)))
    except (BadPicture, MemoryError):
        raise
    except Exception as error:  # Pillow raises every kind of error on a damaged file
        raise BadPicture(why(content, error)) from error


def known_formats(content: bytes) -> list[str]:
    """Those of this Pillow."""
    if is_heic(content):
        with contextlib.suppress(ImportError):
            import pillow_heif

            pillow_heif.register_heif_opener()
            return ["HEIF"]
    return formats_of_pillow()


@functools.cache
def formats_of_pillow() -> list[str]:
    Image.init()
    return [name for name in FORMATS if name in Image.OPEN]


def is_heic(content: bytes) -> bool:
    """By the brands in its first box (ISO/IEC 14496-12)."""
    size = min(int.from_bytes(content[:4], "big"), 256)
    return content[4:8] == b"ftyp" and any(content[place : place + 4] in HEIC_BRANDS for place in range(8, size, 4))


def refuse_large(opened: Image.Image) -> None:
    """By its header; a TIFF may be in tiles, each unpacked whole, however small the picture is."""
    if opened.width * opened.height > MAX_PIXELS:
        raise BadPicture(f"{opened.width}x{opened.height}, more than the {MAX_PIXELS:,} pixels that are read: make it smaller")
    if tags := getattr(opened, "tag_v2", {}):
        tile = (float(np.max(tags.get(tag, 0))) for tag in (TiffImagePlugin.TILEWIDTH, TiffImagePlugin.TILELENGTH))
        if math.prod(tile) > MAX_PIXELS:
            raise BadPicture(f"tiles of more than the {MAX_PIXELS:,} pixels that are read: save it again")
        if len(getattr(opened, "tile", [])) > MAX_STRIPS:
            raise BadPicture(f"more than {MAX_STRIPS:,} strips or tiles: save it again")
    if opened.mode == "F" or (opened.mode == "I" and opened.format not in ("PNG", "PPM")):
        raise BadPicture("pixels of 32 bits, which have no fixed range: save it with 8 or 16 bits")


def scans_of(content: bytes) -> bool:
    """Whether a JPEG has its end, after which there may be more, such as a film. BadPicture where a small file would take minutes."""
    place, scans, segments = 2, 0, 0
    while found := MARK.search(content, place):
        mark, place = found[1][0], found.end()
        if mark == 0xD9:
            return True
        scans, segments = scans + (mark == 0xDA), segments + 1
        if scans > MAX_SCANS:
            raise BadPicture(f"more than {MAX_SCANS} scans: save it again")
        if segments > MAX_SEGMENTS:
            raise BadPicture(f"more than {MAX_SEGMENTS} segments: save it again")
        if mark not in (0x01, 0xD8):
            place += int.from_bytes(content[place : place + 2], "big")
    return False


def refuse_crumbs(content: bytes) -> None:
    """JPEG 2000 in so many parts that a file of a few hundred bytes would take gigabytes (ISO/IEC 15444-1, annex A)."""
    starts = [found.end() - 2 for found in islice(re.finditer(rb"\xff\x4f\xff\x51", content), 9)]
    if not (content.startswith(STARTS[-2:]) and starts):
        return
    if len(starts) > 8:
        raise BadPicture("more than 8 pictures of JPEG 2000 in one: save it again")
    for place in starts:
        end = 0  # of a part, whose header is read and whose data is not
        while (mark := content[place : place + 2]) and mark != b"\xff\xd9":
            length = int.from_bytes(content[place + 2 : place + 4], "big")
            body = content[place + 4 : place + 2 + length]
            if mark == b"\xff\x51":
                width, height, _, _, *tile = (int.from_bytes(body[at : at + 4], "big") for at in range(2, 34, 4))
                if math.ceil(max(width - tile[2], 1) / max(tile[0], 1)) * math.ceil(max(height - tile[3], 1) / max(tile[1], 1)) > MAX_TILES:
                    raise BadPicture(f"more than {MAX_TILES:,} tiles: save it again")
            elif mark in (b"\xff\x52", b"\xff\x53"):  # coding style: of all components, of one
                _, across, down, _, _, *precincts = body[5 if mark == b"\xff\x52" else 2 :].ljust(5, b"\0")
                # The smallest resolution comes first, each next one has twice its sides.
                sides = [side + halvings for halvings, one in enumerate(reversed(precincts)) for side in (one & 15, one >> 4)]
                if (across & 15) + (down & 15) + 4 < MIN_BLOCK or min(sides, default=MIN_PRECINCT) < MIN_PRECINCT:
                    raise BadPicture("code blocks or precincts of a few pixels: save it again")
            elif mark == b"\xff\x90":
                end = place + int.from_bytes(body[2:6], "big")
            elif mark == b"\xff\x93":
                length = end - place - 2
            if length < 2:
                break
            place += 2 + length


def of_8_bits(image: Image.Image) -> tuple[Image.Image, list[Note]]:
    """Greys of 16 bits scaled: Pillow would cut them off at 255."""
    if not image.mode.startswith("I"):
        return image, []
    said = getattr(image, "tag_v2", {}).get(TiffImagePlugin.BITSPERSAMPLE, (16,))[0]  # 12, of some TIFFs
    values, notes = np.asarray(image), list[Note]()
    highest = int(values.max())
    if said == 16 and 0 < highest < SMALL_RANGE:
        what = f"values up to {highest:,} of 65,535, as of {highest.bit_length()} bits"
        notes.append(Note("16 bits of which few are used: nearly black, scale its values to 65,535", what))
    return Image.fromarray((values >> max(said - 8, 0)).astype(np.uint8)), notes


def of_frames(opened: Image.Image) -> list[Note]:
    """What there is to say of more than one picture in a file; of those that cameras add (MPO) nothing."""
    several = False
    with contextlib.suppress(Exception):  # what follows the first one may be damaged
        several = bool(getattr(opened, "is_animated", False)) and opened.format != "MPO"
    if not several:
        return []
    return [Note("several pages: the first is read" if opened.format == "TIFF" else "animated: the first frame is read")]


def why(content: bytes, error: Exception) -> str:
    """A file could not be read, in words for the person whose file it is."""
    if is_heic(content):
        return HEIC
    for start, what in OTHERS:
        if start.match(content):
            return what
    said, sides = " ".join(str(error).split()), [int.from_bytes(content[place : place + 4], "big") for place in (16, 20)]
    if content[:4] == b"\x89PNG" and math.prod(sides) > MAX_PIXELS:
        return f"{sides[0]}x{sides[1]}, more than the {MAX_PIXELS:,} pixels that are read: make it smaller"
    if is_cut_short(content) or re.search("truncated|unexpected end|end of file|not enough", said, re.IGNORECASE):
        return CUT_SHORT
    if isinstance(error, Image.DecompressionBombError):
        return f"more than the {MAX_PIXELS:,} pixels that are read: make it smaller"
    if not looks_like_one(content[:32]):
        return UNKNOWN
    return "damaged" if isinstance(error, Image.UnidentifiedImageError) else f"damaged: {said.rstrip('.') or type(error).__name__}"


def is_cut_short(content: bytes) -> bool:
    if content[:2] == b"\xff\xd8":
        return not scans_of(content)
    if content[:4] == b"\x89PNG":
        return b"IEND" not in content
    sizes = {b"RIFF": int.from_bytes(content[4:8], "little") + 8, b"BM": int.from_bytes(content[2:6], "little")}
    return any(content.startswith(start) and size > len(content) for start, size in sizes.items())


def resized(image: Image.Image, shorter_side: int) -> Image.Image:
    """Bilinear with antialiasing, its sizes rounded as torchvision.transforms does. Raises BadPicture."""
    width, height = (int(shorter_side * side / min(image.size)) for side in image.size)
    if width * height > MAX_PIXELS:
        raise BadPicture(f"{image.width}x{image.height}, too long and narrow to be resized: cut it")
    return image.resize((width, height), Image.Resampling.BILINEAR)


def centre(image: Image.Image, width: int, height: int) -> Image.Image:
    """What torchvision.transforms.CenterCrop keeps."""
    left, top = round((image.width - width) / 2), round((image.height - height) / 2)
    return image.crop((left, top, left + width, top + height))


def cut_notes(size: tuple[int, int], shorter_side: int, width: int, height: int) -> list[Note]:
    """Where middle() leaves little to be seen of a picture of this size."""
    new_width, new_height = (int(shorter_side * side / min(size)) for side in size)
    shown, notes = width * height / (new_width * new_height), list[Note]()
    if shown < MIN_SHOWN:
        notes.append(Note("long and narrow: the middle cut shows a small part", f"{size[0]}x{size[1]} pixels, {shown:.1%} shown"))
    if min(size) < MIN_SIDE:
        notes.append(Note("tiny: there is little to be seen", f"{size[0]}x{size[1]} pixels"))
    return notes
