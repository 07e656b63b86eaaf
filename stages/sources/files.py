"""Files from published addresses or the mirror, pinned by their SHA-256, and no stand-in."""

from typing import Annotated

from pydantic import Field

from stages.common.params import Section
from stages.reading.fetch import RemoteFile


class Source(Section):
    official: Annotated[list[RemoteFile], Field(min_length=1)]
