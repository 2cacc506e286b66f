"""`python -m pebble_lm talk [VARIANT]`: a chat in the terminal, to hear how a model speaks.

Answers stream. Commands: /base shows how the base continues the same text; /system TEXT sets a system prompt (without
TEXT: none); /temperature T; /undo takes the last exchange back; /reset starts over; /help; /quit.
"""

from __future__ import annotations

from collections.abc import Callable

from course_utils import load_variant
from course_utils.variant import Prompt, Variant

from ..world.conversations import Message

HELP = __doc__.split("\n\n", 1)[1]
LIMIT = 200  # new tokens


class Talk:
    """A conversation with one variant and, for /base, another."""

    def __init__(
        self, variant: Variant, base: Callable[[], Variant], write: Callable[..., object] = print
    ) -> None:
        self.variant, self.base, self.write = variant, base, write
        self.system, self.temperature = "", 0.0
        self.turns: list[Message] = []

    def line(self, text: str) -> bool:
        """Take one line that was typed; False when the talk is over."""
        text = text.strip()
        if not text:
            return True
        if not text.startswith("/"):
            self._answer(text)
            return True
        command, _, rest = text[1:].partition(" ")
        rest = rest.strip()
        if command in ("quit", "exit", "q"):
            return False
        if command == "reset":
            self.turns = []
            self.write("A new conversation.")
        elif command == "undo":
            self.turns = self.turns[:-2]
            self.write(f"{len(self.turns) // 2} exchanges left.")
        elif command == "system":
            self.system, self.turns = rest, []
            self.write(f"System prompt: {rest or 'none'}. A new conversation.")
        elif command == "temperature":
            self._set_temperature(rest)
        elif command == "base":
            self._continue(rest)
        else:
            self.write(HELP if command == "help" else f"There is no /{command}.\n{HELP}")
        return True

    def _set_temperature(self, text: str) -> None:
        try:
            value = float(text)
        except ValueError:
            value = -1.0
        if not 0.0 <= value <= 5.0:
            self.write(
                f"Expected a temperature from 0 (greedy) to 5, got {text!r}. Example: /temperature 0.8"
            )
            return
        self.temperature = value
        self.write(f"Temperature {value:g}.")

    def _answer(self, text: str) -> None:
        messages = [*self.turns, {"role": "user", "content": text}]
        if self.system:
            messages = [{"role": "system", "content": self.system}, *messages]
        self.write(f"{self.variant.name}: ", end="")
        said = self._stream(self.variant, self.variant.encode(messages))
        self.turns += [{"role": "user", "content": text}, {"role": "assistant", "content": said}]

    def _stream(self, variant: Variant, prompt: Prompt) -> str:
        """Write what the variant says as it comes; the whole of it."""
        said = ""
        for piece in variant.stream_complete(prompt, LIMIT, temperature=self.temperature):
            said += piece
            self.write(piece, end="", flush=True)
        self.write("")
        return said

    def _continue(self, text: str) -> None:
        """The same words as bare text, continued by the base."""
        text = text or (self.turns[-2]["content"] if self.turns else "")
        if not text:
            self.write("Nothing to continue yet. Example: /base The capital of France is")
            return
        self.write(f"base, going on from {text!r}:")
        self._stream(self.base(), text)


def main(name: str) -> None:
    talk = Talk(load_variant(name), lambda: load_variant("pebble-base"))
    print(f"Talking to {name}. /help lists the commands, /quit ends.")
    while True:
        try:
            text = input("you: ")
        except (EOFError, KeyboardInterrupt):
            print()
            return
        if not talk.line(text):
            return
