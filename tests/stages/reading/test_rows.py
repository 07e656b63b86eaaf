import gzip

import pytest

from stages.reading import rows
from stages.reading.rows import numbered_rows
from stages.shell.errors import UserError


def test_a_file_of_too_many_lines_is_refused_blank_ones_counted(tmp_path, monkeypatch):
    monkeypatch.setattr(rows, "MAX_LINES", 3)
    (tmp_path / "a.csv.gz").write_bytes(gzip.compress(b"a,b\n\n1,2\n"))
    assert list(numbered_rows(tmp_path / "a.csv.gz")) == [(1, ["a", "b"]), (3, ["1", "2"])]
    (tmp_path / "a.csv.gz").write_bytes(gzip.compress(b"a,b\n\n1,2\n\n"))
    with pytest.raises(UserError, match=r"a\.csv\.gz has more than 3 lines"):
        list(numbered_rows(tmp_path / "a.csv.gz"))
