"""The official files of a source: pinned in params.yaml, from the addresses that published them."""

from typing import Annotated

from pydantic import Field

from stages.common.params import Section
from stages.reading.fetch import RemoteFile, WebAddress


class Official(Section):
    """`official`: the files. `addresses`: folders on the web, ending in /, that hold them by the last part of their `path`."""

    official: Annotated[list[RemoteFile], Field(min_length=1)]
    addresses: list[Annotated[WebAddress, Field(pattern=r"/$")]] = Field(default_factory=list)

    def files(self) -> list[RemoteFile]:
        return [file.model_copy(update={"urls": [*file.urls, *(base + file.name for base in self.addresses)]}) for file in self.official]
