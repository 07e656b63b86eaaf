"""docs/keys.md is what docs/keys.py writes, and says what each key of a column means."""

from docs.keys import PAGE, meanings, page
from examples import cells
from stages.common.meta import Column


def test_the_page_of_every_key_is_up_to_date():
    assert PAGE.read_text(encoding="utf-8") == page(), "write it again: python -m docs.keys"


def test_every_key_of_a_column_has_a_meaning():
    assert set(meanings(cells.__doc__)) == set(Column.model_fields)
