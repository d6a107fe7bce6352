"""What the user points at, in one named view."""

from dataclasses import dataclass


@dataclass(frozen=True, eq=False)
class ReferencePrompt:
    """See `reference_prompt` for how it is made of a command's options."""

    view: str
