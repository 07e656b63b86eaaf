import numpy as np
import pytest
from pydantic import ValidationError

from stages.sources.sequence import Source


def test_characters_become_code_points_and_targets_places_in_the_alphabet(place):
    place.describe("sequence", alphabet="ehlo")
    place.make("sequence", input="hello", target="ohlol")
    meta = place.run()
    inputs, targets = place.split("train")
    assert inputs.dtype == np.int16 and inputs.tolist() == [[ord(character) for character in "hello"]]
    assert targets.dtype == np.int64 and targets.tolist() == [[3, 1, 2, 3, 2]]
    assert meta.classes == ["e", "h", "l", "o"] and meta.input.alphabet == "ehlo" and meta.input.shape == [None]


def test_test_is_the_example_that_trained_and_val_is_empty(place):
    place.describe("sequence", alphabet="ehlo")
    place.make("sequence", input="hello", target="ohlol")
    place.run()
    assert (place.processed / "train.safetensors").read_bytes() == (place.processed / "test.safetensors").read_bytes()
    assert place.split("val")[0].shape == (0, 5)


def test_a_character_outside_the_alphabet_is_named(place):
    place.describe("sequence", alphabet="ehl")
    place.make("sequence", input="hello", target="ohlol")
    assert "the character 'o', which is not in preprocess.alphabet (ehl)" in place.refusal()


def test_an_alphabet_with_a_character_twice_is_refused(place):
    place.describe("sequence", alphabet="ehloh")
    assert "datasets.own.preprocess.alphabet is 'ehloh'; expected every character once" in place.refusal()


def test_texts_of_different_length_are_refused():
    with pytest.raises(ValidationError, match="same length, got 5 and 4"):
        Source(input="hello", target="ohlo")


def test_a_file_with_two_examples_is_refused(place):
    place.describe("sequence", alphabet="ehlo")
    (place.raw / "sequences.csv").write_text("input,target\nhel,ohl\nhel,ohl\n")
    assert "one row of two texts" in place.refusal()
