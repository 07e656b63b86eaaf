"""Surnames and their countries: the official files, or made-up surnames, two or three syllables typical of each country, none twice."""

from pathlib import Path

import numpy as np
from pydantic import Field

from stages.common.params import Section
from stages.reading.fetch import Official
from stages.reading.rows import write_rows

STAND_IN = "A stand-in for the surnames of 18 countries: names put together from typical syllables, few of them anyone's."
TRAIN_FILE, TEST_FILE = "names_train.csv.gz", "names_test.csv.gz"


class Sample(Section):
    """Names are spread evenly over the 18 countries."""

    seed: int = Field(ge=0)
    num_train: int = Field(ge=18, le=2700)
    num_test: int = Field(ge=18, le=900)


class Source(Official):
    sample: Sample


def generate(raw: Path, source: Source) -> None:
    """Write both files, each sorted by country and name as the real ones nearly are."""
    sample = source.sample
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
