"""Surnames and the country each comes from: text of varying length to classify.

Reads   raw/names_train.csv.gz and raw/names_test.csv.gz, rows "name","country" with no header, as a stream.
The sample is made-up surnames: two or three syllables typical of each country, no name twice.
"""

import unicodedata
from array import array
from collections.abc import Container, Iterator
from itertools import islice
from pathlib import Path
from typing import Annotated

import numpy as np
from pydantic import Field

from stages.common.errors import UserError
from stages.common.meta import Input, InputKind, Task
from stages.common.params import Section
from stages.common.splits import hold_out
from stages.reading.contents import Chunk, Contents
from stages.reading.fetch import RemoteFile
from stages.reading.left_out import LeftOutItems
from stages.reading.rows import numbered_rows, write_rows

TRAIN_FILE, TEST_FILE = "names_train.csv.gz", "names_test.csv.gz"
CHUNK = 1024
MAX_COUNTRIES = 10_000


class Sample(Section):
    """Names are spread evenly over the 18 countries."""

    seed: int = Field(ge=0)
    num_train: int = Field(ge=18, le=2700)
    num_test: int = Field(ge=18, le=900)


class Download(Section):
    sample: Sample
    official: Annotated[list[RemoteFile], Field(min_length=1)]


class Preprocess(Section):
    """Names longer than `max_length` characters are bad rows; `val_fraction` is of train."""

    max_length: int = Field(ge=1, le=1000)
    val_fraction: float = Field(ge=0, lt=1)
    max_bad_fraction: float = Field(ge=0, le=1)

    @property
    def task(self) -> Task:
        return "multiclass"

    @property
    def input_kind(self) -> InputKind:
        return "characters"


def read(raw: Path, preprocess: Preprocess, seed: int) -> Contents:
    labels, classes = _train_labels(raw / TRAIN_FILE, preprocess.max_length)
    left_out = LeftOutItems()
    return Contents(
        description=f"Surnames and their {len(classes)} countries; a name may stand in train and in test, and under two countries.",
        stand_in="A stand-in for the surnames of 18 countries: names put together from typical syllables, few of them anyone's.",
        task=preprocess.task,
        input=Input(kind=preprocess.input_kind, shape=[None], dtype="int16"),
        classes=classes,
        outputs=None,
        item_shape=(preprocess.max_length,),
        target_shape=(),
        chunks=_chunks(raw, preprocess, classes, hold_out(labels, preprocess.val_fraction, seed), left_out),
        left_out=left_out,
    )


def _train_labels(path: Path, max_length: int) -> tuple[np.ndarray, list[str]]:
    """The class of every good row of train, int64 [n], and the countries in sorted order."""
    seen: dict[str, int] = {}
    order_seen = array("q")
    for _, country in _good_rows(path, max_length, LeftOutItems()):
        order_seen.append(seen.setdefault(country, len(seen)))
        if len(seen) > MAX_COUNTRIES:
            raise UserError(f"{path} has more than {MAX_COUNTRIES:,} countries: its second column should hold a name's country.")
    classes = sorted(seen)
    place = {country: number for number, country in enumerate(classes)}
    places = np.array([place[country] for country in seen], dtype=np.int64)
    return places[np.frombuffer(order_seen, dtype=np.int64)], classes


def _chunks(raw: Path, preprocess: Preprocess, classes: list[str], held_out: np.ndarray, left_out: LeftOutItems) -> Iterator[Chunk]:
    label = {country: place for place, country in enumerate(classes)}
    number = 0
    for inputs, targets in _encoded(_good_rows(raw / TRAIN_FILE, preprocess.max_length, left_out), label, preprocess.max_length):
        val = held_out[number : number + len(targets)]
        number += len(targets)
        yield "train", inputs[~val], targets[~val]
        yield "val", inputs[val], targets[val]
    for inputs, targets in _encoded(_good_rows(raw / TEST_FILE, preprocess.max_length, left_out, label), label, preprocess.max_length):
        number += len(targets)
        yield "test", inputs, targets
    left_out.settle(number + left_out.count, preprocess.max_bad_fraction)


def _good_rows(path: Path, max_length: int, left_out: LeftOutItems, known: Container[str] | None = None) -> Iterator[tuple[str, str]]:
    """(name in ASCII, country) of every good row; with `known` a country outside it makes a bad row."""
    for number, cells in numbered_rows(path):
        reason = ""
        if len(cells) != 2 or not all(cells):
            reason = "expected a name and a country"
        elif not cells[1].isprintable():
            reason = f"the country {cells[1]!r} has a character that cannot be shown"
        elif known is not None and cells[1] not in known:
            reason = f"the country {cells[1]!r} is not in {TRAIN_FILE}"
        elif not 0 < len(name := fold(cells[0])) <= max_length:
            reason = f"{cells[0]!r} has {len(name)} ASCII characters, expected 1 to {max_length}"
        if reason:
            left_out.add(f"{path.name} line {number}", reason)
        else:
            yield name, cells[1]


def fold(text: str) -> str:
    """`text` in visible ASCII and spaces: accents are taken off (NFKD), what has no ASCII form is dropped."""
    return "".join(character for character in unicodedata.normalize("NFKD", text) if " " <= character <= "~").strip()


def _encoded(rows: Iterator[tuple[str, str]], label: dict[str, int], max_length: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Code points int16 [k, max_length], padded with 0, and classes int64 [k], chunk after chunk."""
    while chunk := list(islice(rows, CHUNK)):
        inputs = np.zeros((len(chunk), max_length), dtype=np.int16)
        for row, (name, _) in zip(inputs, chunk, strict=True):
            row[: len(name)] = np.frombuffer(name.encode("ascii"), dtype=np.uint8)
        yield inputs, np.array([label[country] for _, country in chunk], dtype=np.int64)


def generate(raw: Path, download: Download) -> None:
    """Write both files, each sorted by country and name as the real ones nearly are."""
    sample = download.sample
    rng = np.random.default_rng(sample.seed)
    train: list[tuple[str, str]] = []
    test: list[tuple[str, str]] = []
    taken: set[str] = set()
    for place, country in enumerate(SYLLABLES):
        num_train, num_test = _share(sample.num_train, place), _share(sample.num_test, place)
        names = _make_names(country, num_train + num_test, taken, rng)
        train += [(name, country) for name in sorted(names[:num_train])]
        test += [(name, country) for name in sorted(names[num_train:])]
    write_rows(raw / TRAIN_FILE, train, quote_all=True)
    write_rows(raw / TEST_FILE, test, quote_all=True)


def _share(total: int, place: int) -> int:
    return total // len(SYLLABLES) + (place < total % len(SYLLABLES))


def _make_names(country: str, number: int, taken: set[str], rng: np.random.Generator) -> list[str]:
    """`number` new names: a beginning, sometimes a middle, an end; `taken` keeps any name from being made twice."""
    beginnings, middles, ends = (part.split() for part in SYLLABLES[country])
    names: list[str] = []
    while len(names) < number:
        middle = rng.choice(middles) if rng.random() < 0.6 else ""
        name = f"{rng.choice(beginnings)}{middle}{rng.choice(ends)}"
        if name not in taken:
            taken.add(name)
            names.append(name)
    return names


# Beginnings, middles and ends; neighbours share some on purpose, so that no network can be right about every name.
SYLLABLES = {
    "Arabic": ("Ha Sa Na Ma Ka Ba Gha Sha Ta Kho", "ta la mi ra da ba ssa wa hi", "our had ari im oun sha far bar leh mad"),
    "Chinese": ("Zh X Q Sh Ch L W Y J H", "i u ia ua ao e", "ang ong eng ai ei uan in un ou an"),
    "Czech": ("Ko Hru Sva Do Ka Pro Blaz Ve Hor Ma", "va sti ce le za bo ri ha", "cek ska bal nik dlec tny sek kova hout dra"),
    "Dutch": ("Van Ver Ro Kl Me Ha Be De Wes Kra", "der den se oe nde en ij hui", "aan berg sen veld huizen donk meer kens aart wijk"),
    "English": ("Ash Brad Ha Ker Ward Thorn Wal Mar Hol", "ing er le by win ri th ow", "ton ley field ford son worth ham well man wood"),
    "French": ("Beau Du La Mon Gi Char Be Ro Che Fau", "cha ro li ne bou mar te ga", "mont bert eau ard elle voix ier aux iere court"),
    "German": ("Schw Kr Br Gr St Kl Schn Fr Hirsch Wein", "ei au o an ie u oe en", "mann bach ler berg ner stein feld ger hausen dt"),
    "Greek": ("Pa Ka Ste Ge Di Ko Ni Tse Va Ma", "na pa ra mo li ndo sto ki", "poulos akis idis atos ellis iadis ouris antis opoulos aki"),
    "Irish": ("O'Do O'Con Mc Bre Ga Ke Mur Fla O'Ma Col", "nna lla rra ne ghe hi nni", "gan nell han ley nnon ney phy van hue lly"),
    "Italian": ("Ca Bel Ro Mo Gia Fe Ba De Ve Pa", "ra lli ni cco ste gna vi ndo", "etti ini elli ucci aro one ato ese oni acci"),
    "Japanese": ("Ya Ta Ka Na Mi Shi Ki Ha To Fu", "ma ka na shi ga ra tsu ki", "moto mura saki yama naka guchi kawa shita da zaki"),
    "Korean": ("Ch K S P B H J Y M N", "o u eo a e yeo", "ng n i k on oung ung im wan m"),
    "Polish": ("Ko Wi Za Szcz Krz Ja Dą Gra No Ma", "wa le cho sie bro me zy wi", "wski czyk icki szewicz rek ak owicz nski sz cki"),
    "Portuguese": ("Fe Pe Car Al Mo Sil Ro San Gue Me", "rre va lhe nde ma que dri ra", "ira eiro es inho ado osa ao ques eira gues"),
    "Russian": ("Vo Ba Gu Zho Ti Yak Shu Che Pe Mal", "li ro vo dze kha no sta bi", "ov ev insky in chenko enkov yshev sky off anov"),
    "Scottish": ("Mac Camp Fra Ross Dun Kin Stew Mur Fer Craig", "ke gu na do lla be ra", "zie son bell ray doch nald kay len can art"),
    "Spanish": ("Go Her Ro Lo Ji Al Gar Ve Na Es", "me rra nde va la ri mi ca", "ez illo ero oz uez ado ana era anza as"),
    "Vietnamese": ("Ng Tr Ph L D B V H Th Kh", "uye i ua ie o a u", "n m ng nh u an ung ach c oi"),
}
