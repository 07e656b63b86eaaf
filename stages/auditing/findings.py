"""What the stage audit finds, and the form in which data/<name>/audit/findings.json has it:

    {"dataset": "presses",
     "rows": 60,                      of all splits
     "looked_at": 60,                 rows on which columns were measured: of a large dataset an even sample
     "findings": [                    the severe ones first; none where all is well
       {"name": "same_as_target",     one of NAMES, by which datasets.<name>.accept in params.yaml accepts it
        "severity": "stop",           stop: train refuses, unless it is accepted; warn: look at it; note: good to know
        "accepted": false,            whether params.yaml accepts it
        "sentence": "...",            what was found
        "advice": "...",              what to do, with the key that does it
        "columns": ["outcome_code"],  that it is about; none where it is about rows
        "lines": [2, 3, 5],           examples: lines of the raw file, where the kind of data has lines
        "count": 60,                  how many rows, columns or classes it is about
        "examples": [                 of pictures and texts alone: some of them; copies stand side by side
          [{"split": "train", "place": 0, "name": "ants/1.jpg", "label": "ants"},     place: in its split, from 0
           {"split": "test", "place": 7, "name": "ants/9.jpg", "label": "ants"}]]}]}

verdict.json beside it, {"stopped_by": ["same_as_target"]}, has the names of those that stop the training, and nothing else: a model is
trained again for a new verdict, and not for a new sentence.
"""

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal, TypedDict

Severity = Literal["stop", "warn", "note"]
ORDER = ("stop", "warn", "note")
LONGEST = 60  # characters of a word in a sentence
MAX_ALIKE = 8  # findings of one name and severity that are told one by one
NUM_NAMED = 5  # examples of lines, of columns and of words in a sentence
NUM_SHOWN = 6  # examples of pictures and texts

NAMES = {
    "same_as_target": "a column is the target under another name",
    "tells_target": "a column alone tells the target",
    "id_column": "a column numbers the rows, or names each one",
    "test_rows_in_train": "rows of the test split stand in train too",
    "near_copies": "rows of test are equal to rows of train but for one column",
    "duplicate_rows": "rows are equal",
    "contradicting_rows": "rows are equal but for the target",
    "few_rows": "there are too few rows for a figure to mean anything",
    "rare_class": "a class has a handful of rows, or none in a split",
    "class_shares": "a class is far more or less frequent in val or test than in train",
    "label_variants": "classes differ by upper and lower case or blanks alone",
    "level_variants": "words of a column differ by upper and lower case or blanks alone",
    "constant_column": "a column says the same in every row of train",
    "almost_constant": "a column says the same in nearly every row",
    "far_dates": "dates lie far from all others, such as in the future",
    "far_numbers": "a number lies far from all others, such as -999 for missing",
    "far_row": "a row lies far from all others in many columns, as one of totals does",
    "equal_in_float32": "different numbers become equal in float32",
    "target_range": "targets of test lie outside those of train",
    "ignored_group": "rows belong together, and the split does not know it",
    "ignored_time": "rows have dates, and the split is random",
    "unseen_words": "test has words that train lacks",
    "missing_differs": "a column is missing in test far more or less often than in train",
    "left_out_rows": "rows or files were left out",
    "copies_across_splits": "pictures or texts of val or test are copies of some in train",
    "copies_with_two_labels": "copies of a picture or of a text have different labels",
    "copies": "pictures or texts are copies of others in their split",
    "blank_pictures": "pictures show nothing",
    "dark_pictures": "pictures are dark all over",
    "blurred_pictures": "pictures look blurred",
    "odd_files": "raw files were read in a way that is worth a look",
    "empty_texts": "texts have nothing in them that can be read",
    "cut_texts": "texts were cut at the largest length",
    "long_texts": "texts are far longer than the others",
    "other_script": "texts are of another script than nearly all the others",
}


class Example(TypedDict):
    """An item of a split. Its `name` is its raw file, its line or its number; `label` is empty where it has no class."""

    split: str
    place: int
    name: str
    label: str


@dataclass(frozen=True)
class Finding:
    """`name` is one of NAMES; the other fields are as above."""

    name: str
    severity: Severity
    sentence: str
    advice: str
    columns: Sequence[str] = ()
    lines: Sequence[int] = ()
    count: int = 0
    accepted: bool = False
    examples: Sequence[Sequence[Example]] = ()

    def __post_init__(self) -> None:
        assert self.name in NAMES, self.name

    @property
    def kind(self) -> tuple[str, str]:
        return self.name, self.severity

    def judged(self, accepted: list[str]) -> "Finding":
        return replace(self, accepted=self.name in accepted)

    def as_dict(self) -> dict[str, Any]:
        keys = ("name", "severity", "accepted", "sentence", "advice", "columns", "lines", "count")
        values = asdict(self) | {"columns": list(self.columns), "lines": [int(line) for line in self.lines[:NUM_NAMED]]}
        return {key: values[key] for key in keys} | ({"examples": [list(group) for group in self.examples]} if self.examples else {})


def quoted(word: str) -> str:
    """A word of the data's, of which a long one is cut."""
    return repr(word if len(word) <= LONGEST else f"{word[: LONGEST - 1]}…")


def few(names: Iterable[str]) -> str:
    """The first of them, and how many more there are."""
    listed = list(names)
    more = f" and {len(listed) - NUM_NAMED} more" if len(listed) > NUM_NAMED else ""
    return ", ".join(listed[:NUM_NAMED]) + more


def share(part: int, whole: int) -> str:
    """Such as "12 of 60 (20 %)"."""
    percent = 100 * part / max(whole, 1)
    return f"{part:,} of {whole:,} ({percent:.{0 if percent >= 10 else 2}{'f' if percent >= 10 else 'g'}} %)"


def joined(findings: list[Finding]) -> list[Finding]:
    """Of many findings of one name and severity the first stay; one names the columns of all others."""
    kept = list[Finding]()
    for kind in dict.fromkeys(finding.kind for finding in findings):
        alike = [finding for finding in findings if finding.kind == kind]
        rest = alike[MAX_ALIKE:] if len(alike) > MAX_ALIKE + 1 else []
        kept += alike[: len(alike) - len(rest)]
        if rest:
            columns = [column for finding in rest for column in finding.columns]
            sentence = f"Likewise of {len(rest)} more columns: {', '.join(columns)}."
            kept.append(Finding(rest[0].name, rest[0].severity, sentence, "do the same for them", columns, count=len(rest)))
    return sorted(kept, key=lambda finding: ORDER.index(finding.severity))
