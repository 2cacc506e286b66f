"""What a model wrote after a prompt, and how it ended."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Completion:
    """What a model wrote after a prompt.

    `text` leaves out the stop string and special tokens. `token_ids` are all tokens the model produced, the
    end-of-turn token included. `logprobs` are their natural-log probabilities under the model itself
    (temperature 1, nothing cut off), whatever the sampling settings were. `stop_reason` is "eos",
    "stop_string" or "length". `prompt` is the text the model saw: for messages the rendered template, special
    tokens included.
    """

    text: str
    token_ids: list[int]
    logprobs: list[float]
    stop_reason: str
    prompt: str

    @property
    def stopped(self) -> bool:
        """Whether the model (or a stop string) ended the text, rather than the token limit."""
        return self.stop_reason != "length"

    def __str__(self) -> str:
        return self.text

    def __repr__(self) -> str:
        cut = {"stop_string": "cut at a stop string", "length": "cut at the limit"}
        count = len(self.token_ids)
        return (
            f"Completion({count} token{'s' * (count != 1)}, {cut.get(self.stop_reason, 'ended by the model')})\n"
            f"  prompt: {shorten(self.prompt)!r}\n"
            f"  text:   {self.text!r}"
        )


def shorten(text: str, width: int = 80) -> str:
    return text if len(text) <= width else f"{text[: width // 2]}…{text[-width // 2 :]}"
