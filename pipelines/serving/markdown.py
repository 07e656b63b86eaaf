"""Text in the artifacts that Prefect's UI renders."""

import html
import re


def as_markdown(text: str) -> str:
    """Plain text that renders as it is, on one line: what a stage says may quote data, which may hold HTML, Markdown and the ends of table
    cells. What is not printable is shown as its code. stages/exporting/model_card.py has the same, since neither imports the other.
    """
    shown = "".join(sign if sign.isprintable() else ascii(sign)[1:-1] for sign in text)
    return re.sub(r"[\\`*\[\]|~$]|(?<![^\W_])_|_(?![^\W_])", r"\\\g<0>", html.escape(shown, quote=False))
