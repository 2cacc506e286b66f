"""Outputs laid out to be read: what several models wrote to the same prompts, in columns."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from course_utils.variant import Completion

ENDED, CUT = "■", "…"
# Attributes beside the styles: some pages that show notebooks, GitHub among them, drop styles.
_TABLE = 'style="table-layout: fixed; width: 100%; border-collapse: collapse;"'
_STYLE = "text-align: left; vertical-align: top; padding: 4px 10px; overflow-wrap: break-word; white-space: normal;"
_CELL = f'align="left" valign="top" style="{_STYLE} border-bottom: 1px solid rgba(128, 128, 128, 0.35);"'
_FIRST = 24  # percent of the width: the prompt's column; the others share what is left


class SideBySide:
    """Texts in columns, one row per prompt; a notebook shows a table, print() the same as lines.

    `rows` maps each prompt to its texts, `{column: text or Completion}`. A Completion gets ■ where the model ended it
    itself and … where it was cut off.
    """

    def __init__(self, rows: Mapping[str, Mapping[str, Completion | str]], first: str = "prompt"):
        self.first = first
        self.rows = {
            prompt: {name: marked(text) for name, text in row.items()} for prompt, row in rows.items()
        }

    @property
    def columns(self) -> list[str]:
        return list(dict.fromkeys(name for row in self.rows.values() for name in row))

    def _repr_html_(self) -> str:
        share = (100 - _FIRST) // max(1, len(self.columns))
        head = "".join(
            f'<th scope="col" width="{share if i else _FIRST}%" {_CELL}>{escape(name)}</th>'
            for i, name in enumerate([self.first, *self.columns])
        )
        lines = [
            f"<tr><td {_CELL}><i>{_html(prompt)}</i></td>"
            + "".join(f"<td {_CELL}>{_html(row.get(name, ''))}</td>" for name in self.columns)
            + "</tr>"
            for prompt, row in self.rows.items()
        ]
        return f"<table {_TABLE}><thead><tr>{head}</tr></thead><tbody>{''.join(lines)}</tbody></table>"

    def __repr__(self) -> str:
        blocks = [
            "\n".join([f"{self.first}: {prompt}", *(f"  {name}: {text}" for name, text in row.items())])
            for prompt, row in self.rows.items()
        ]
        return "\n\n".join(blocks)


def _html(text: str) -> str:
    """Escaped, with its lines and its indentation kept."""
    return escape(text).replace("\n", "<br>").replace("  ", "&nbsp;&nbsp;")


def marked(text: Completion | str) -> str:
    """The text without whitespace around it, and a mark that says how it ended."""
    if isinstance(text, str):
        return text.strip()
    return f"{text.text.strip() or '(nothing)'} {ENDED if text.stopped else CUT}"


def side_by_side(
    prompts: Sequence[str], first: str = "prompt", **columns: Sequence[Completion | str]
) -> SideBySide:
    """What each column wrote to each prompt, beside one another: `side_by_side(prompts, base=…, instruct=…)`.

    A repeated prompt has a row for each time, numbered from the second on.

    Raises ValueError when a column has not one text for each prompt.
    """
    for name, texts in columns.items():
        if len(texts) != len(prompts):
            raise ValueError(
                f"Column {name!r} has {len(texts)} texts for {len(prompts)} prompts. Give one for each."
            )
    rows = {}
    for i, prompt in enumerate(prompts):
        again, key = 1, prompt
        while key in rows:  # a prompt asked again keeps a row of its own
            again += 1
            key = f"{prompt} ({again})"
        rows[key] = {name: texts[i] for name, texts in columns.items()}
    return SideBySide(rows, first)
