"""report.html of an audit: one file without scripts or anything from a network, in light and dark, and on paper."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from jinja2 import Environment, StrictUndefined

from stages.auditing.data import Audited
from stages.auditing.findings import Example
from stages.auditing.items import Texts
from stages.common.shelves import take_input
from stages.common.shown import as_shown, as_small_picture
from stages.common.splits import SPLITS, middle

SIDE, MAX_TEXT, MAX_SENTENCE = 112, 300, 10_000  # pixels of a picture, characters of a text and of a sentence
SEVERITIES = {"stop": "Stops the training", "warn": "Warning", "note": "Note"}
PAGE = """\
<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'; img-src data:">
<title>Audit of {{ dataset }}</title>
<style>
:root { color-scheme: light dark; --ground: #fff; --ink: #1b1f24; --faint: #59636e; --line: #d1d9e0;
        --stop: #b3261e; --warn: #8a5a00; --note: #35627f; }
@media (prefers-color-scheme: dark) {
  :root { --ground: #14181d; --ink: #e6edf3; --faint: #9aa4ae; --line: #3d444d; --stop: #ff8f86; --warn: #f0b849; --note: #86bcdf; }
}
@media print { :root { color-scheme: light; --ground: #fff; --ink: #000; --faint: #444; --line: #999;
                       --stop: #b3261e; --warn: #8a5a00; --note: #35627f; } }
body { font: 16px/1.5 system-ui, sans-serif; max-width: 52rem; margin: 2rem auto; padding: 0 1rem;
       background: var(--ground); color: var(--ink); }
h1 { font-size: 1.6rem; margin-bottom: 0.2rem; }
article { border: 1px solid var(--line); border-left: 6px solid var(--note); border-radius: 4px; padding: 0.6rem 1rem; margin: 1rem 0;
          break-inside: avoid; overflow-wrap: anywhere; }
article.stop { border-left-color: var(--stop); } article.warn { border-left-color: var(--warn); }
h2 { font-size: 1rem; margin: 0; color: var(--note); }
.stop h2 { color: var(--stop); } .warn h2 { color: var(--warn); }
p { margin: 0.4rem 0; } .faint { color: var(--faint); }
.groups { display: flex; flex-wrap: wrap; gap: 0.6rem 1.4rem; margin: 0.6rem 0; }
.group { display: flex; gap: 0.5rem; break-inside: avoid; }
figure { margin: 0; width: 112px; font-size: 0.8rem; line-height: 1.3; }
figure img { display: block; max-width: 100%; border-radius: 3px; }
.texts { display: block; } .texts .group { display: block; border-top: 1px solid var(--line); padding: 0.4rem 0; }
.texts figure { width: auto; } .texts bdi { display: block; font-size: 0.95rem; }
code { font-family: ui-monospace, monospace; font-size: 0.92em; }
</style>
</head>
<body>
<main>
<h1>Audit of {{ dataset }}</h1>
<p class="faint">{{ "{:,}".format(rows) }} items{% if looked_at < rows %}; columns were measured on {{ "{:,}".format(looked_at) }} of them,
taken evenly{% endif %}.
{% if findings %}{{ findings | length }} finding{{ "" if findings | length == 1 else "s" }}.{% else %}Nothing was found.{% endif %}</p>
{% for finding in findings %}
<article class="{{ finding.severity }}">
<h2>{{ "Accepted in params.yaml" if finding.accepted else severities[finding.severity] }}: <code>{{ finding.name }}</code></h2>
<p>{{ finding.sentence | line }}</p>
<p>What to do: {{ finding.advice | line }}.</p>
{% if finding.severity == "stop" and not finding.accepted %}
<p>Or, if it is meant to be so, accept it in <code>params.yaml</code>: <code>datasets.{{ dataset }}.accept: [{{ finding.name }}]</code></p>
{% endif %}
{% if finding.examples is defined %}
{% set groups = finding.examples | map("map", "shown") | map("list") | list %}
<div class="groups{{ " texts" if groups[0][0].text is not none }}">
{% for group in groups %}
<div class="group">
{% for one in group %}
<figure>{% if one.text is none %}<img src="{{ one.picture }}" alt="">{% else %}<bdi>{{ one.text }}</bdi>{% endif %}
<span class="faint">{{ one.split }}{{ ", " ~ one.label if one.label }}: {{ one.name }}</span></figure>
{% endfor %}
</div>
{% endfor %}
</div>
{% endif %}
{% if finding.lines %}<p class="faint">Such as line {{ finding.lines | join(", ") }} of the raw file.</p>{% endif %}
</article>
{% endfor %}
</main>
</body>
</html>
"""


@dataclass(frozen=True)
class Shown:
    """How items of the findings are shown."""

    data: Audited

    def __call__(self, example: Example) -> dict[str, str | None]:
        described, split = self.data.meta.input, SPLITS.index(example["split"])
        row = self.data.files[split].take("inputs", [example["place"]])
        if isinstance(self.data.items, Texts):
            what = {"text": as_shown(take_input(described.kind).shown(row, described)[0], MAX_TEXT), "picture": None}
        else:
            cut = middle(row, self.data.shape)
            what = {"text": None, "picture": as_small_picture(take_input(described.kind).shown(cut, described)[0], SIDE)}
        return {"split": example["split"], "name": example["name"], "label": example["label"]} | what


def as_page(findings: dict[str, Any], shown: Callable[[Example], dict[str, Any]]) -> str:
    """Of what findings.json holds, with its examples as `shown` gives them. Words from data and columns' names are escaped,
    and signs that cannot be seen are codes.
    """
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    environment.filters["shown"] = shown
    environment.filters["line"] = lambda text: as_shown(text, MAX_SENTENCE)
    return environment.from_string(PAGE).render(severities=SEVERITIES, **findings) + "\n"
