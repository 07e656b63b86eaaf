"""examples/pictures.py: the decoder of pictures for preprocessing and for those who ask. Every format and mode, and what is no picture."""

import io
import struct
import sys
import types
import warnings

import numpy as np
import pytest
from PIL import Image, ImageOps, features

from examples import pictures
from examples.pictures import BadPicture, cut_notes, decode, is_other, looks_like_one

GREY = Image.new("RGB", (16, 12), (128, 128, 128))


def encoded(image: Image.Image, kind: str, **options: object) -> bytes:
    image.save(file := io.BytesIO(), kind, **options)
    return file.getvalue()


FORMATS = ["JPEG", "PNG", "WEBP", "BMP", "TIFF", "GIF", "PPM", *(["AVIF"] if features.check("avif") else []), "JPEG2000"]
MODES = {"1": "PNG", "L": "PNG", "LA": "PNG", "P": "PNG", "RGBA": "PNG", "CMYK": "TIFF", "I;16": "PNG", "YCbCr": "JPEG"}


@pytest.mark.parametrize(("kind", "mode"), [*((kind, "RGB") for kind in FORMATS), *((kind, mode) for mode, kind in MODES.items())])
def test_every_format_and_mode_becomes_rgb(kind, mode):
    image = GREY.convert("L").convert("I;16").point(lambda value: value * 257) if mode == "I;16" else GREY.convert(mode)
    content = encoded(image, kind)
    picture, notes = decode(content)
    assert looks_like_one(content[:32]) and (picture.mode, picture.size, notes) == ("RGB", (16, 12), ())
    assert abs(np.asarray(picture).mean() - 128) < 3


def test_greys_of_16_bits_in_a_pgm_and_of_12_in_a_tiff_are_scaled():
    values = (np.arange(64, dtype=np.uint16) * 1024).reshape(8, 8)
    pgm = b"P5 8 8 65535\n" + values.astype(">u2").tobytes()
    assert np.asarray(decode(pgm)[0])[..., 0].tolist() == (values // 256).tolist()
    assert np.asarray(decode(encoded(Image.fromarray(values), "TIFF"))[0])[..., 1].tolist() == (values // 256).tolist()
    (note,) = decode(encoded(Image.fromarray(values // 32), "PNG")).notes
    assert str(note).endswith("(values up to 2,016 of 65,535, as of 11 bits)")


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize(("kind", "options"), [("PNG", {}), ("TIFF", {}), ("TIFF", {"compression": "tiff_lzw"})])
def test_a_picture_is_turned_upright_by_its_exif(kind, options, orientation):
    pixels = np.zeros((8, 12, 3), dtype=np.uint8)
    pixels[0, :5] = 255
    exif = Image.Exif()
    exif[0x0112] = orientation
    content = encoded(Image.fromarray(pixels), kind, exif=exif, **options)
    with Image.open(io.BytesIO(content)) as opened:
        assert decode(content)[0].tobytes() == ImageOps.exif_transpose(opened).tobytes()
    assert decode(content)[0].size == ((12, 8) if orientation < 5 else (8, 12))


def test_damaged_exif_is_no_reason_to_refuse_a_picture():
    content = encoded(GREY, "JPEG", exif=b"Exif\0\0MM\0*\0\0\0\x08\xff\xff" + b"\x01\x12\0\x03" * 9)
    with warnings.catch_warnings(action="ignore"):
        assert decode(content)[0].size == (16, 12)


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P"])
def test_what_is_transparent_is_white(mode):
    clear = Image.new("RGBA", (8, 8), (0, 0, 0, 0))
    clear.paste((0, 0, 0, 255), (0, 0, 4, 8))
    if mode == "P":
        image = Image.fromarray(np.asarray(clear)[..., 3] // 255).convert("P")
        image.putpalette([9, 9, 9, 0, 0, 0])
        content = encoded(image, "PNG", transparency=0)
    else:
        content = encoded(clear.convert(mode), "PNG")
    pixels = np.asarray(decode(content)[0])
    assert pixels[:, :4].max() == 0 and pixels[:, 4:].min() == 255


@pytest.mark.parametrize(("kind", "said"), [("GIF", "animated: the first frame"), ("WEBP", "animated"), ("TIFF", "several pages")])
def test_of_several_frames_the_first_is_read_and_that_is_said(kind, said):
    frames = [Image.new("RGB", (8, 8), colour) for colour in ("red", "blue", "green")]
    content = encoded(frames[0], kind, save_all=True, append_images=frames[1:])
    picture, (note,) = decode(content)
    assert note.what.startswith(said) and np.asarray(picture)[..., 0].min() > 200
    assert decode(encoded(frames[0], kind)).notes == ()


def test_what_follows_a_jpeg_is_not_looked_at():
    """A telephone's photograph may have a film behind it, in which any bytes stand."""
    assert decode(encoded(GREY, "JPEG") + b"\xff\xda\0\x08" * 1000)[0].size == (16, 12)


JP2_START = bytes.fromhex("0000000c6a5020200d0a870a") + b"\xff\x4f\xff\x51\0\0"


def crumbs(tile=7000, **options):
    """A JPEG 2000 of a few kilobytes that says 7000x7000: decoded, the first takes 4 GB."""
    content = bytearray(encoded(Image.new("L", (64, 64)), "JPEG2000", no_jp2=True, **options))
    struct.pack_into(">II", content, 8, 7000, 7000)
    struct.pack_into(">II", content, 24, tile, tile)
    return bytes(content)


def of_many_strips(count=70_000):
    """A TIFF of which each pixel is a strip."""
    values = {256: 1, 257: count, 258: 8, 259: 1, 262: 1, 273: 9, 277: 1, 278: 1, 279: 9 + 4 * count}
    entries = b"".join(struct.pack("<HHII", tag, 4, count if tag in (273, 279) else 1, value) for tag, value in values.items())
    return (
        b"II*\0"
        + struct.pack("<I", 9 + 8 * count)
        + b"\0"
        + struct.pack("<II", 8, 1)[:4] * count
        + b"\1\0\0\0" * count
        + struct.pack("<H", 9)
        + entries
        + bytes(4)
    )


def of_many_scans():
    """A progressive JPEG that repeats its last scan, which has its table of codes before it."""
    content = encoded(Image.new("L", (64, 64), 128), "JPEG", progressive=True)
    table, scan = content.rindex(b"\xff\xc4"), content.rindex(b"\xff\xda")
    return content[:-2] + content[table:scan] + content[scan:-2] * 600 + content[-2:]


def of_many_segments():
    content = encoded(GREY, "JPEG")
    return content[:2] + b"\xff\xe1\0\x12Exif\0\0" + bytes(10) + (b"\xff\xe1\0\x12Exif\0\0" + bytes(10)) * 20_000 + content[2:]


NOISE = Image.effect_noise((64, 64), 50)
HEIC = b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(100)
BAD = {
    "empty": (b"", "an empty file"),
    "lfs": (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "a Git LFS pointer: run git lfs pull"),
    "annex": (b"/annex/objects/SHA256E-s1--0.jpg\n", "a git-annex pointer: run git annex get"),
    "svg": (b'<?xml version="1.0"?>\n<!-- x -->\n<svg xmlns="http://www.w3.org/2000/svg"/>', "SVG, a drawing without pixels"),
    "html": (b"\n<!DOCTYPE html><html>404", "HTML, a web page"),
    "heic": (HEIC, "HEIC, as iPhones write it: convert it to JPEG, or install pillow-heif"),
    "jxl": (b"\xff\x0a" + bytes(9), "JPEG XL: convert it"),
    "dicom": (bytes(128) + b"DICM", "DICOM: export it"),
    "text": (b"no picture", "of no format that is read"),
    "float": (encoded(Image.fromarray(np.ones((8, 8), np.float32)), "TIFF"), "pixels of 32 bits, which have no fixed range"),
    "integers": (encoded(Image.fromarray(np.ones((8, 8), np.int32)), "TIFF"), "pixels of 32 bits, which have no fixed range"),
    "pixels": (encoded(Image.new("L", (10_000, 6000)), "PNG"), "10000x6000, more than the 50,000,000 pixels"),
    "scans": (of_many_scans(), "more than 32 scans: save it again"),
    "code blocks": (crumbs(codeblock_size=(4, 4)), "code blocks or precincts of a few pixels: save it again"),
    "precincts": (crumbs(precinct_size=(8, 8), num_resolutions=1), "code blocks or precincts of a few pixels: save it again"),
    "tiles of JPEG 2000": (crumbs(tile=16), "more than 4,096 tiles: save it again"),
    "decoy": (JP2_START + crumbs(codeblock_size=(4, 4)), "code blocks or precincts of a few pixels: save it again"),
    "strips": (of_many_strips(), "more than 65,536 strips or tiles: save it again"),
    "segments": (of_many_segments(), "more than 500 segments: save it again"),
    **{f"cut {kind}": (encoded(NOISE, kind)[:-40], "cut short") for kind in ("JPEG", "PNG", "BMP", "WEBP", "TIFF", "GIF")},
    "damaged": (encoded(GREY, "PNG").replace(b"IHDR", b"IHDX"), "damaged"),
}


@pytest.mark.parametrize("name", BAD)
def test_what_cannot_be_read_is_told_by_its_own_reason(name):
    content, reason = BAD[name]
    with pytest.raises(BadPicture) as refused:
        decode(content)
    assert str(refused.value).startswith(reason)


def test_a_file_of_too_many_bytes_is_refused(monkeypatch):
    monkeypatch.setattr(pictures, "MAX_BYTES", 100)
    assert len(pictures.read_bytes(io.BytesIO(bytes(1000)))) == 101
    with pytest.raises(BadPicture, match="more than the 100 bytes"):
        decode(bytes(101))


def test_heic_is_read_where_pillow_heif_is_installed(monkeypatch):
    """A stand-in for it: what it registers is asked for."""
    module = types.ModuleType("pillow_heif")
    module.register_heif_opener = lambda: monkeypatch.setitem(Image.OPEN, "HEIF", (lambda *_: GREY.copy(), None))
    monkeypatch.setitem(sys.modules, "pillow_heif", module)
    assert decode(HEIC)[0].size == (16, 12)


@pytest.mark.parametrize(
    ("size", "words"),
    [((4000, 3000), []), ((10_000, 500), ["long and narrow"]), ((1, 1), ["tiny"]), ((3, 60), ["long and narrow", "tiny"]), ((32, 32), [])],
)
def test_where_the_middle_shows_nothing_that_is_said(size, words):
    assert [note.what.split(":")[0] for note in cut_notes(size, 256, 224, 224)] == words


@pytest.mark.parametrize(("name", "is_none"), [("a/._b.jpg", True), ("Thumbs.DB", True), ("b.XML", True), ("b.jpg", False), ("b", False)])
def test_by_its_name_a_file_may_be_no_picture(name, is_none):
    assert is_other(name) == is_none
