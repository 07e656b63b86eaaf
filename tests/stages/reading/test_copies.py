"""Copies of pictures and of texts: what is one, what is none, and that crowds of either end soon."""

import time

import numpy as np
import pytest
from PIL import Image

from stages.reading.copies import (
    BLOCK,
    GREY,
    equal_texts,
    exact_groups,
    mirrored,
    near_groups,
    picture_hashes,
    text_groups,
)
from tests.drawings import SIZE, drawn, saved_again


def cut(image, margin):
    return image.crop((margin, margin, image.width - margin, image.height - margin))


def groups_of(images, with_mirrored=True):
    pictures = np.stack([np.asarray(image.convert("RGB").resize((SIZE, SIZE), Image.Resampling.BILINEAR)) for image in images])
    hashes = picture_hashes(pictures)
    assert hashes.dtype == np.uint64
    return near_groups(hashes, mirrored(hashes) if with_mirrored else None).tolist(), exact_groups(hashes).tolist()


@pytest.mark.parametrize(
    ("change", "with_mirrored", "is_near", "is_exact"),
    [
        (lambda image: image.copy(), False, True, True),
        (saved_again, False, True, False),
        (lambda image: image.resize((SIZE // 2, SIZE // 2)), False, True, False),
        (lambda image: image.convert("L"), False, True, False),
        (lambda image: cut(image, 1), False, True, False),
        (lambda image: cut(image, SIZE // 8), True, False, False),
        (lambda image: saved_again(image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)), True, True, False),
        (lambda image: image.transpose(Image.Transpose.FLIP_LEFT_RIGHT), False, False, False),
    ],
)
def test_copies_of_a_picture_are_known_again(change, with_mirrored, is_near, is_exact):
    near, exact = groups_of([drawn(1), drawn(2), change(drawn(1)), drawn(3)], with_mirrored)
    assert near == [0, 1, 0 if is_near else 2, 3]
    assert exact == [0, 1, 0 if is_exact else 2, 3]


def test_hashes_of_mirrored_pictures_are_made_of_those_of_the_pictures():
    pictures = np.stack([np.asarray(drawn(seed)) for seed in range(5)])
    np.testing.assert_array_equal(mirrored(picture_hashes(pictures))[:, 1:], picture_hashes(pictures[:, :, ::-1])[:, 1:])


def test_pictures_that_show_nothing_are_copies_only_where_every_pixel_is_the_same():
    shades = [Image.new("RGB", (SIZE, SIZE), (value,) * 3) for value in (0, 0, 1, 255, 250)]
    assert groups_of(shades) == ([0, 0, 2, 3, 4],) * 2
    strokes = np.zeros((2, 28, 28, 1), np.uint8)  # two writers' digit one
    strokes[0, 4:24, 13:16], strokes[1, 4:24, 13:15] = 200, 200
    hashes = picture_hashes(strokes)
    assert near_groups(hashes, mirrored(hashes)).tolist() == [0, 1]


def test_thousands_of_views_of_one_camera_are_one_group_soon():
    draw = np.random.default_rng(0)
    hashes = picture_hashes(np.asarray(drawn(1))[None]).repeat(4_000, axis=0)
    hashes[:, 0] = np.arange(len(hashes))  # no two are equal in every pixel
    hashes[:, GREY].view(np.uint8)[:, ::7] ^= draw.integers(0, 2, (len(hashes), 39), np.uint8)
    start = time.process_time()
    assert set(near_groups(hashes, hashes).tolist()) == {0}
    assert time.process_time() - start < 10


def test_a_copy_is_found_in_another_block():
    hashes = picture_hashes(np.stack([np.asarray(drawn(seed)) for seed in range(BLOCK + 2)]))
    again = picture_hashes(np.asarray(saved_again(drawn(3)))[None])
    assert near_groups(np.concatenate([hashes, again])).tolist() == [*range(BLOCK + 2), 3]


OFFER = "You have won a guaranteed prize of 1000 pounds: call the number below before noon on Friday, and ask for Mary."


@pytest.mark.parametrize(
    ("other", "is_equal", "is_near"),
    [
        (f"  {OFFER.upper()}\n", True, True),
        (OFFER.replace("noon", "nine").replace(" ", "\u00a0 "), False, True),
        ("You have won nothing at all this week, and the office stays shut until Monday: write to us instead of calling.", False, False),
        ("", False, False),
    ],
)
def test_copies_of_a_text_are_known_again(other, is_equal, is_near):
    texts = [OFFER, "e\u0301te\u0301", other, "\u00c9T\u00c9"]
    assert equal_texts(texts).tolist() == [0, 1, 0 if is_equal else 2, 1]
    assert text_groups(texts).tolist() == [0, 1, 0 if is_near else 2, 1]


def test_short_texts_are_copies_only_where_they_are_equal_and_none_is_a_copy_of_nothing():
    assert text_groups(["see you", "see you!", "\U0001f600", ""]).tolist() == [0, 1, 2, 3]
    assert text_groups([]).tolist() == []


def test_crowds_and_long_texts_end_soon():
    texts = [f"Dear customer, your order {number * 7919} left us today and comes on Friday." for number in range(3000)]
    texts += ["x" * 1_000_000 + str(number) for number in range(20)]
    start = time.process_time()
    groups = text_groups(texts)
    assert time.process_time() - start < 20
    assert set(groups[3000:]) == {3000} and (groups == text_groups(texts)).all()


def test_groups_do_not_depend_on_the_order_in_which_items_come():
    rng = np.random.default_rng(0)
    names, fruits = ("alpha", "beta", "gamma", "delta", "kappa"), ("apple", "pear", "plum", "fig")
    ends = [f"stands in the line with the number {number * 37 % 211} of all the lines" for number in range(200)]
    texts = [f"{names[number % 5]} {fruits[number % 4]} {end}" for number, end in enumerate(ends)]
    pictures = np.stack([np.asarray(drawn(seed)) for seed in range(8) for _ in range(3)])
    hashes = picture_hashes(np.clip(pictures.astype(np.int16) + rng.integers(-6, 7, pictures.shape), 0, 255).astype(np.uint8))
    for count, groups in (
        (200, lambda order: text_groups([texts[place] for place in order])),
        (24, lambda order: near_groups(hashes[order])),
    ):
        partitions = []
        for order in (np.arange(count), np.arange(count)[::-1], rng.permutation(count)):
            found = order[groups(order)]
            partitions.append({frozenset(order[found == first].tolist()) for first in np.unique(found)})
        assert partitions[0] == partitions[1] == partitions[2]
        assert 1 < len(partitions[0]) < count
