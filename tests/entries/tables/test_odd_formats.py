"""How a text file is laid out: found where that is certain, else refused with the option that says it."""

import gzip

import pytest

from entries.tables.formats import LOOKED_AT, format_of
from stages.shell.errors import UserError

ROWS = "a,b\n" + "1.5,x\n" * 30


@pytest.fixture
def look(tmp_path):
    def look(content, name="a.csv", **told):
        (tmp_path / name).write_bytes(content.encode() if isinstance(content, str) else content)
        return format_of(tmp_path / name, **({"encoding": None, "separator": None, "header": None, "names": None} | told))

    return look


LONG = b"a,b\n" + b"1,2\n" * (LOOKED_AT // 2)  # more than is looked at
FOUND = {
    "plain": (ROWS, ("utf-8", ",")),
    "tabs in UTF-16 with a mark": (ROWS.replace(",", "\t").encode("utf-16"), ("utf-16", "\t")),
    "UTF-8 whose characters lie across the pieces that are read": ("a;ü\n" + "1;ü\n" * LOOKED_AT, ("utf-8", ";")),
    "latin-1": ("größe;b\n1,5;Straße\n".encode("latin-1") * 9, ("cp1252", ";")),
    "latin-1 in the last byte alone": (LONG + "3,süß".encode("latin-1") + b"\xdf", ("cp1252", ",")),
    "French": ("née;où\nÀ côté;été\n".encode("cp1252") * 9, ("cp1252", ";")),
    "what Excel says": ("sep=;\r\n" + ROWS.replace(",", ";"), ("utf-8", ";")),
    "what Excel says, a tab": ('"sep=\t"\r\n' + ROWS.replace(",", "\t"), ("utf-8", "\t")),
    "a name like that": ("sep=;x,b\n" + "1,2\n" * 9, ("utf-8", ",")),
    "commas within words": ("a|b\n" + "x, y|1\n" * 9, ("utf-8", "|")),
    "quoted line ends": ('a,b\n"x\ny",1\n' * 1 + '"x\n\n",2\n' * 9, ("utf-8", ",")),
    "comments and a total": (ROWS + "# of the plant\n" + ROWS[4:] + "Total,,\n", ("utf-8", ",")),
    "line ends of old Macs": (ROWS.replace("\n", "\r"), ("utf-8", ",")),
    "a quote that is not closed": (ROWS + '"x,1\n' + "2,3\n" * 60_000, ("utf-8", ",")),  # told when the rows are read
}


@pytest.mark.parametrize(("content", "expected"), FOUND.values(), ids=FOUND)
def test_the_format_is_found(look, content, expected):
    form, why = look(content)
    assert (form.encoding, form.separator) == expected and form.header and why["encoding"]
    content = content.encode() if isinstance(content, str) else content
    assert look(gzip.compress(content, 1), "a.csv.gz")[0] == form


def test_parquet_says_it_all(look):
    assert look(b"PAR1", "a.parquet")[1]["encoding"] == "Parquet"


REFUSED = {
    "nothing": ("", "a.csv is empty"),
    "what Excel says, and nothing": ("sep=;\n", "a.csv is empty"),
    "one column": ("a\n1\n2\n", "has one column, 'a', and no other to predict it from"),
    "no format at all": ("a,b,c\n1;2\n\x1b\n" * 3, "no sign sets cells apart in the same way"),
    "UTF-16 without a mark": (ROWS.encode("utf-16-le"), "it is UTF-16 without a byte order mark (--encoding utf-16), or no text"),
    "a workbook": (b"PK\x03\x04", "is a workbook or another zip file by its content: save the sheet as CSV"),
    "Cyrillic": (("цена,город\n" + "1,Санкт-Петербург и другие города\n" * 20).encode("cp1251"), "is not UTF-8, and may be cp1251"),
    "a title above the header": ("Presses of 2024\n" + ROWS, "its first line, 'Presses of 2024', has 1 cells, where most have 2: remove"),
    "no header": ("1.5,x\n2.5,y\n" * 9, "--no-header"),
    "a name twice": ("a,b,a\n" + "1,2,3\n" * 9, "columns 1 and 3 of one name"),
}


@pytest.mark.parametrize(("content", "named"), REFUSED.values(), ids=REFUSED)
def test_what_is_not_certain_is_refused_with_what_to_say(look, content, named):
    with pytest.raises(UserError) as refused:
        look(content)
    assert named in str(refused.value) and "\n" not in str(refused.value) and "\x1b" not in str(refused.value)
