"""The self-check at the end of a lesson: `quiz("05")` shows its four questions, says why, and keeps the best result.

Own code rather than jupyterquiz: that one answers in JavaScript, which cannot tell the kernel what was right (so no
progress is kept), while radio buttons of ipywidgets, 7.7 in Colab or 8, can and are worked by keyboard as they are.

In a live notebook the cell shows the controls. The same output carries the questions as static HTML with the
answers folded, which is what GitHub, a printed page or a notebook without its kernel show.
"""

from __future__ import annotations

import re
import time
from functools import cache
from html import escape
from typing import Any

from . import progress, quizzes

RIGHT, WRONG, OPEN = "✔ Right.", "✘ Not this one.", "○ Nothing chosen yet."
PATIENCE = 2.0  # seconds that a click waits for its echo, if another click follows
COLOURS = {RIGHT: "#2e7d32", WRONG: "#c62828", OPEN: "#757575"}
# ipywidgets gives a choice one line of fixed height, and lets its button float behind the text; ours may need two.
STYLE = (
    "<style>.course-quiz .widget-radio-box label {height: auto; line-height: 1.4; margin: 3px 0; white-space: normal;"
    " display: block; position: relative; padding-left: 22px}"
    " .course-quiz .widget-radio-box label input {float: none; position: absolute; left: 0; top: 0; margin: 0}"
    " .course-quiz .widget-radio-box, .course-quiz .widget-radio {height: auto; width: auto; max-width: 100%}"
    " .course-quiz .widget-html-content {line-height: 1.45; white-space: normal}</style>"
)


def quiz(lesson: str) -> Quiz:
    """The self-check questions of a lesson such as "05", to answer in the notebook.

    Raises ValueError for a lesson that has no questions, QuizError (a ValueError) for a file of questions that is not
    valid.
    """
    return Quiz(str(lesson).zfill(2))


class Quiz:
    """The questions of one lesson; displayed as `ui` where widgets can run, as static HTML elsewhere.

    `cards` holds a Card a question, its controls as attributes. Without ipywidgets `ui` is None and `cards` is empty.
    """

    def __init__(self, lesson: str) -> None:
        self.lesson, self.questions = lesson, quizzes.load(lesson)
        self.cards: list[Card] = []
        self.ui: Any = None
        try:
            import ipywidgets as widgets
        except ImportError:
            return
        self._summary = widgets.HTML()
        self.cards = [Card(self, number, question) for number, question in enumerate(self.questions, 1)]
        parts = [widgets.HTML(STYLE), *(part for card in self.cards for part in card.parts), self._summary]
        self.ui = widgets.VBox(parts)
        self.ui.add_class("course-quiz")
        self._summarise()

    def answered(self, question: quizzes.Question, right: bool) -> None:
        """Keep an answer and say how many questions are right so far."""
        progress.record_answer(self.lesson, question.key, right, [known.key for known in self.questions])
        self._summarise()

    def _summarise(self) -> None:
        kept = progress.answers(self.lesson)
        right = sum(card.is_right or kept.get(card.question.key, False) for card in self.cards)
        text = f"{right} of {len(self.questions)} answered right so far."
        if right == len(self.questions):
            text = f"All {right} answered right: lesson {self.lesson} is done."
        self._summary.value = f'<div role="status"><b>{text}</b></div>'

    def answers(self) -> str:
        """The right answers and every choice's why, as text."""
        blocks = []
        for number, question in enumerate(self.questions, 1):
            lines = [f"{number}. {question.text}"]
            for letter, choice in _lettered(question):
                lines.append(
                    f"   {RIGHT[0] if choice.right else WRONG[0]} {letter}. {choice.text}: {choice.why}"
                )
            blocks.append("\n".join(lines))
        return "\n\n".join(blocks)

    def __repr__(self) -> str:
        blocks = [f"Self-check of lesson {self.lesson} (quiz({self.lesson!r}).answers() has the answers)"]
        for number, question in enumerate(self.questions, 1):
            choices = [f"   {letter}. {choice.text}" for letter, choice in _lettered(question)]
            blocks.append("\n".join([f"{number}. {question.text}", *choices]))
        return "\n\n".join(blocks)

    def _repr_html_(self) -> str:
        items = "".join(f"<li>{_static_question(question)}</li>" for question in self.questions)
        note = "Run this cell to answer here: you are told why at once, and your best result is kept."
        return f"<div><p><em>{note}</em></p><ol>{items}</ol></div>"

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, Any]:
        data: dict[str, Any] = {"text/plain": repr(self), "text/html": self._repr_html_()}
        if self.ui is not None:
            view = {"version_major": 2, "version_minor": 0, "model_id": self.ui.model_id}
            data["application/vnd.jupyter.widget-view+json"] = view
        return data


class Card:
    """One question's controls: `options` (radio buttons), `button` (Check) and `feedback`.

    `is_right` says whether it has been answered right in this session.
    """

    def __init__(self, owner: Quiz, number: int, question: quizzes.Question) -> None:
        import ipywidgets as widgets

        self.owner, self.question, self.is_right = owner, question, False
        labels = [
            (f"{letter}. {choice.text.replace('`', '')}", i)
            for i, (letter, choice) in enumerate(_lettered(question))
        ]
        self.title = widgets.HTML(
            f"<b>Question {number}.</b> {_rich(question.text)}",
            layout=widgets.Layout(margin="10px 2px 2px 2px"),
        )
        self.options = _choices_class()(
            options=labels,
            index=None,
            description=f"Answer {number}",
            layout=widgets.Layout(width="auto"),
            style={"description_width": "70px"},
        )
        self.button = widgets.Button(
            description=f"Check answer {number}",
            tooltip=f"check the answer to question {number}",
            layout=widgets.Layout(width="auto", align_self="flex-start"),
        )
        self.feedback = widgets.HTML()
        self.parts = (self.title, self.options, self.button, self.feedback)
        self.options.observe(self._on_choice, "index")
        self.button.on_click(self._on_check)
        # While the kernel is busy, the page holds back a second choice but not a click, which overtakes the choice that
        # it is about. So a click asks the page to echo a number as a part of the choices: what was held back comes
        # before it, or in one message with it. (Another widget's echo could overtake, too: each has its own way in.)
        self.asked = widgets.IntText(1)
        self.clicked: float | None = None  # when, if no echo has said yet that nothing is held back
        self.judged: int | None = None  # the choice that the feedback is about
        self._link = widgets.jsdlink((self.asked, "value"), (self.options, "echo"))
        self.options.observe(self._on_echo, "echo")

    def _on_choice(self, change: Any) -> None:
        if change["new"] != self.judged:  # else it came in one message with the echo
            self.feedback.value, self.judged = "", None  # it was about another choice

    def _on_check(self, _: Any) -> None:
        earlier, self.clicked = self.clicked, time.monotonic()
        echoes = self.options.echo > 0  # it does so once by itself, when it has made the link
        self.asked.value += 1
        # No click is lost: a page that has not echoed yet, or leaves a click unanswered, is not waited for.
        if not echoes or (earlier is not None and self.clicked - earlier > PATIENCE):
            self._judge()

    def _on_echo(self, change: Any) -> None:
        if self.clicked is not None and change["new"] == self.asked.value:  # of several clicks the last
            self.clicked = None
            self._judge()

    def _judge(self) -> None:
        self.judged = self.options.index
        if self.options.index is None:
            self.feedback.value = _feedback(OPEN, "Choose an answer, then check it.")
            return
        choice = self.question.choices[self.options.index]
        self.is_right = self.is_right or choice.right
        self.feedback.value = _feedback(RIGHT if choice.right else WRONG, choice.why)
        self.owner.answered(self.question, choice.right)


@cache
def _choices_class() -> type:
    """Radio buttons that also carry the number which the page echoes; made when ipywidgets is known to be there."""
    import ipywidgets as widgets
    from traitlets import Int

    class Choices(widgets.RadioButtons):
        echo = Int(0).tag(sync=True)

    return Choices


# --- HTML pieces --------------------------------------------------------------------------------------------


def _lettered(question: quizzes.Question) -> list[tuple[str, quizzes.Choice]]:
    return list(zip("ABCD", question.choices))


def _rich(text: str) -> str:
    """Text as HTML, with `code` marked."""
    return re.sub(r"`([^`]+)`", r"<code>\1</code>", escape(text))


def _feedback(mark: str, why: str) -> str:
    style = f"border-left: 4px solid {COLOURS[mark]}; padding: 4px 10px; margin: 2px 0"
    return f'<div role="alert" style="{style}"><b>{mark}</b> {_rich(why)}</div>'


def _static_question(question: quizzes.Question) -> str:
    choices = "".join(f"<li>{letter}. {_rich(choice.text)}</li>" for letter, choice in _lettered(question))
    reasons = "".join(
        f"<li><b>{RIGHT if choice.right else WRONG}</b> {letter}. {_rich(choice.why)}</li>"
        for letter, choice in _lettered(question)
    )
    plain = 'style="list-style: none"'
    return (
        f"<p>{_rich(question.text)}</p><ul {plain}>{choices}</ul>"
        f"<details><summary>The answer, and why</summary><ul {plain}>{reasons}</ul></details>"
    )
