"""Files from published addresses or the mirror, pinned by their SHA-256, and no stand-in."""

from stages.reading.official import Official as Source

__all__ = ["Source"]
