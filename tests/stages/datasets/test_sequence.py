import numpy as np
import pytest


def test_characters_become_code_points_and_targets_places_in_the_alphabet(place):
    place.describe("sequence", alphabet="ehlo")
    place.make("sequence", input="hello", target="ohlol")
    meta = place.run()
    inputs, targets = place.split("train")
    assert inputs.dtype == np.int16 and inputs.tolist() == [[ord(character) for character in "hello"]]
    assert targets.dtype == np.int64 and targets.tolist() == [[3, 1, 2, 3, 2]]
    assert meta.classes == ["e", "h", "l", "o"] and meta.input.alphabet == "ehlo" and meta.input.shape == [None]
    assert (place.processed / "train.safetensors").read_bytes() == (place.processed / "test.safetensors").read_bytes()
    assert place.split("val")[0].shape == (0, 5)


@pytest.mark.parametrize(
    ("rows", "sentence"),
    [
        ("hel,ohl\nhel,ohl\n", "one row of two texts"),
        ("hel,ohlo\n", "one row of two texts"),
        ("hexe,ohlo\n", "the character 'x', which is not in preprocess.alphabet (ehlo)"),
    ],
)
def test_a_file_of_anything_else_is_refused(place, rows, sentence):
    place.describe("sequence", alphabet="ehlo")
    (place.raw / "sequences.csv").write_text(f"input,target\n{rows}")
    assert sentence in place.refusal()
