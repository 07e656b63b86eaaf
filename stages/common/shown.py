"""How a stranger's pictures, texts and names are shown on a page: small, cut, and with no sign that cannot be seen.

A page's template escapes what it is given; what is made here obeys nothing, on a page or on a terminal.
"""

import base64
import io

import numpy as np
from PIL import Image

JOINERS = "\u200c\u200d"  # of letters and of emoji: without them words of some scripts are misspelt, and they move nothing
QUALITY = 80  # of JPEG
TINY = 64  # pixels of the longer side


def as_shown(text: str, most: int) -> str:
    """On one line and not too long; signs that cannot be seen, such as those that turn a text around, are shown as their codes."""
    text = " ".join(text[: 4 * most].split())  # before anything is done with it: it may be endless
    shown = "".join(sign if sign.isprintable() or sign in JOINERS else ascii(sign)[1:-1] for sign in text[: most + 1])
    return shown if len(shown) <= most else f"{shown[: most - 1]}…"


def tile(pixels: np.ndarray, side: int) -> Image.Image:
    """uint8 [height, width, channels] as a picture in colour whose longer side is `side`; few pixels stay squares."""
    image = Image.fromarray(pixels[:, :, 0] if pixels.shape[2] == 1 else pixels).convert("RGB")
    scale = side / max(image.size)
    size = max(1, round(image.width * scale)), max(1, round(image.height * scale))
    return image.resize(size, Image.Resampling.NEAREST if is_tiny(pixels) else Image.Resampling.LANCZOS)


def is_tiny(pixels: np.ndarray) -> bool:
    return max(pixels.shape[:2]) <= TINY


def as_address(image: Image.Image, is_photograph: bool) -> str:
    """What stands in a page for a file: JPEG of photographs, a fifth of what PNG takes for them; PNG of a few large squares."""
    file = io.BytesIO()
    if is_photograph:
        image.save(file, format="JPEG", quality=QUALITY, optimize=True)
    else:
        image.save(file, format="PNG", optimize=True)
    return f"data:image/{'jpeg' if is_photograph else 'png'};base64,{base64.b64encode(file.getvalue()).decode()}"


def as_small_picture(pixels: np.ndarray, side: int) -> str:
    """uint8 [height, width, channels] as the address of a picture whose longer side is `side`."""
    return as_address(tile(pixels, side), is_photograph=not is_tiny(pixels))
