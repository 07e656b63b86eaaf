"""Pictures that nobody has taken, for tests of copies."""

import io

import numpy as np
from PIL import Image, ImageDraw

SIZE = 96


def drawn(seed, size=SIZE):
    """A picture of its own: ellipses on a ground that grows brighter."""
    draw = np.random.default_rng(seed)
    image = Image.fromarray(np.tile(np.linspace(40, 90, size).astype(np.uint8)[:, None, None], (1, size, 3)))
    for _ in range(8):
        x, y, width, height = draw.integers(0, size, 4).tolist()
        ImageDraw.Draw(image).ellipse((x, y, x + width, y + height), fill=tuple(draw.integers(0, 255, 3).tolist()))
    noise = draw.integers(-6, 7, (size, size, 3))
    return Image.fromarray((np.asarray(image).astype(int) + noise).clip(0, 255).astype(np.uint8))


def saved_again(image):
    file = io.BytesIO()
    image.save(file, "JPEG", quality=50)
    return Image.open(file)
