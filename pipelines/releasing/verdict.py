"""What becomes of each model in a release, and how it is told: in the tag, in Prefect's table, and as the flow's last state."""

from dataclasses import dataclass
from enum import StrEnum

from prefect.states import Completed, Failed, State

from pipelines.releasing.gate import Interval


class Outcome(StrEnum):
    RELEASED = "released as"
    ALREADY = "already released as"
    HELD_BACK = "held back"


@dataclass
class Verdict:
    """What becomes of a model, and the figures that say so; `why` is a part of a sentence where it is held back."""

    outcome: Outcome = Outcome.HELD_BACK
    version: str = ""
    why: str = ""
    metric: str = ""
    now: Interval | None = None
    last: str = ""
    before: Interval | None = None
    difference: Interval | None = None
    passed_gate: bool = True  # of a version that is already released

    @property
    def text(self) -> str:
        if self.outcome is Outcome.HELD_BACK:
            return f"held back: {self.why}"
        return f"{self.outcome} {self.version}{'' if self.passed_gate else ', which was tagged by hand and has not passed the gate'}"

    @property
    def figures(self) -> list[str]:
        """The metric now, that of the last version, and the difference, as far as they are known."""
        now = f"{self.metric} {self.now}" if self.now else ""
        return [now, f"{self.last}: {self.before}" if self.before else self.last, self.difference.signed if self.difference else ""]

    def as_message(self, model: str) -> str:
        """Of the tag; passed_gate() of versions.py knows it by its form."""
        now, before, difference = self.figures
        compared = f"; {before} on the same test split, difference {difference}" if difference else ""
        return f"{model} {self.version}\n\n{now}{compared}"


def as_table(verdicts: dict[str, Verdict]) -> str:
    """Markdown: a line for each model."""
    rows = [f"| {' | '.join([model, verdict.text, *verdict.figures])} |" for model, verdict in verdicts.items()]
    return "\n".join(["| model | outcome | metric | last version | difference |", "|---|---|---|---|---|", *rows])


def not_pushed(tags: dict[str, str]) -> str:
    """A part of a sentence about tags that were not pushed, and why."""
    return "not pushed: " + ", ".join(f"{tag} ({why})" for tag, why in tags.items())


def as_state(verdicts: dict[str, Verdict], kept: dict[str, str]) -> State[None]:
    """Failed where a model was held back, or a tag was not pushed (`kept`)."""
    held = [f"{model} ({verdict.why})" for model, verdict in verdicts.items() if verdict.outcome is Outcome.HELD_BACK]
    new = [f"{model} {verdict.version}" for model, verdict in verdicts.items() if verdict.outcome is Outcome.RELEASED]
    by_hand = [f"{model} {verdict.version}" for model, verdict in verdicts.items() if not verdict.passed_gate]
    parts = [f"{len(held)} of {len(verdicts)} models were held back: {', '.join(held)}"] if held else []
    parts.append(f"released: {', '.join(new) or 'nothing new'}")
    parts += [] if held else [f"{len(verdicts) - len(new)} of {len(verdicts)} models are already released"]
    parts += [f"tagged by hand, without having passed the gate: {', '.join(by_hand)}"] if by_hand else []
    parts += [not_pushed(kept)] if kept else []
    return (Failed if held or kept else Completed)(message=f"{'; '.join(parts)}.")
