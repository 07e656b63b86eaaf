"""Files from published addresses or the mirror, pinned by their SHA-256, and no stand-in."""

from stages.reading.fetch import Official as Source

__all__ = ["Source"]
