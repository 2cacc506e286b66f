"""The explorer: type a prompt, watch both variants' next-token distributions, click your way through a text.

The only module that knows ipywidgets (7.7 and 8). In a live notebook the cell shows the controls; the same
output carries a picture and a sentence, which is what GitHub, a printed page or a notebook without its kernel
show.
"""

from __future__ import annotations

import functools
import threading
import time
import timeit
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import ipywidgets as widgets
import pandas as pd
from ipywidgets import Layout

from .compare import best_tokens
from .markup import template
from .plots.house import alt_text, png_base64, png_metadata, short_number, variant_style
from .plots.next_token import draw_next_token
from .sampling import processed_probs
from .tokens import is_special, token_text, visible_token

if TYPE_CHECKING:
    from .pairs import Pair

ROW_PIXELS = 34
SLOW_SECONDS = 0.15  # a model slower than this is asked when a control is released, not while it moves
SECONDS_BETWEEN_UPDATES = 0.05  # while text is being written
SHOWN_TOKENS = 120  # of a long prompt, the last ones


@dataclass(frozen=True)
class State:
    """What the models read: a typed text and the ids of the tokens clicked after it, templated or not."""

    text: str
    tail: tuple[int, ...] = ()
    template: bool = False


def _guarded(callback: Callable) -> Callable:
    """Show an error of a widget's callback in the explorer: a front-end would lose it or hide it in a log."""

    @functools.wraps(callback)
    def safe(self: Explorer, *args: Any) -> Any:
        try:
            return callback(self, *args)
        except Exception as error:
            self._show_error(error)
            return None

    return safe


class Explorer:
    """An interactive explorer of both variants' next-token distributions, displayed as `ui`; `explore` makes one.

    The `k` likeliest tokens of either variant are shown; "Generate" writes at most `max_new_tokens`. `state` is what
    the models read now; `token_ids` the same as ids; `table` the distribution on show (columns token, token_id,
    prob_base, prob_instruct). The controls are attributes, so that code can work them as a learner does. Raises
    VocabularyMismatch (a ValueError) when the two variants number their tokens differently.
    """

    def __init__(
        self, pair: Pair, prompt: str = "The capital of France is", k: int = 10, max_new_tokens: int = 80
    ) -> None:
        pair.require_same_vocabulary()
        self.pair, self.k, self.max_new_tokens = pair, k, max_new_tokens
        # Up to `_at` stand the steps that can be undone, behind it those that can be done again.
        self._steps, self._at = [State(prompt)], 0
        self._typing = False  # whether the last change was typed: a run of keystrokes is one step to undo
        self._syncing = False  # whether the explorer itself is changing its controls
        self._stop = threading.Event()
        self._writer: threading.Thread | None = None
        self.table = pd.DataFrame(columns=["token", "token_id", "prob_base", "prob_instruct"])
        self._build()
        self._connect()
        # Twice, because a model's first answer is slower than all later ones.
        if min(timeit.repeat(self._refresh, repeat=2, number=1)) > SLOW_SECONDS:
            for control in (self.prompt_box, self.temperature, self.top_k, self.top_p):
                control.continuous_update = False

    @property
    def state(self) -> State:
        return self._steps[self._at]

    # --- the controls

    def _build(self) -> None:
        self.prompt_box = widgets.Textarea(
            value=self.state.text, description="Prompt", layout=Layout(width="98%", height="64px")
        )
        self.template = widgets.Checkbox(
            description="chat template", indent=False, layout=Layout(width="auto")
        )
        self.template.disabled = not self.pair.instruct.has_chat_template
        self.undo = _button("Undo", "take back the last step")
        self.redo = _button("Redo", "do the step again")
        self.reset = _button("Reset", "back to the first prompt")
        slider = {"readout": False, "layout": Layout(width="104px", margin="2px 10px 2px 2px")}
        self.temperature = widgets.FloatSlider(value=1.0, min=0.0, max=2.0, step=0.1, **slider)
        self.top_k = widgets.IntSlider(value=0, min=0, max=50, **slider)
        self.top_p = widgets.FloatSlider(value=1.0, min=0.05, max=1.0, step=0.05, **slider)
        self.numbers = {
            "temperature": _number_box("temperature", self.temperature, widgets.BoundedFloatText),
            "top_k": _number_box("top-k (0: all)", self.top_k, widgets.BoundedIntText),
            "top_p": _number_box("top-p", self.top_p, widgets.BoundedFloatText),
        }
        self.message, self.reads, self.bars = widgets.HTML(), widgets.HTML(), widgets.HTML()
        row = {"width": "150px", "height": f"{ROW_PIXELS - 4}px", "margin": "2px 0"}
        self.token_buttons = [_button("…", "", **row) for _ in range(self.k)]
        self.generate = {
            name: _button(f"Generate: {name}", f"let {self.pair[name].name} write to its end")
            for name in ("base", "instruct")
        }
        self.stop = _button("Stop", "stop writing")
        self.stop.disabled = True
        self.written = {name: widgets.HTML() for name in self.generate}
        self.ui = self._laid_out()

    def _laid_out(self) -> widgets.VBox:
        line = Layout(flex_flow="row wrap", align_items="center")
        heading = widgets.HTML(_html("small", "click to append"), layout=Layout(height="26px", margin="0"))
        beside = Layout(margin="0 8px 0 0", flex="0 0 auto")
        tokens = widgets.VBox([heading, *self.token_buttons], layout=beside)
        self.bars.layout = Layout(flex="1 1 auto", margin="0")
        numbers = [widgets.HBox([box, getattr(self, name)]) for name, box in self.numbers.items()]
        rows = [
            self.prompt_box,
            widgets.HBox([self.template, self.undo, self.redo, self.reset], layout=line),
            widgets.HBox(numbers, layout=line),
            self.message,
            self.reads,
            widgets.HBox([tokens, self.bars]),
            widgets.HBox([*self.generate.values(), self.stop], layout=line),
        ]
        return widgets.VBox([*rows, *self.written.values()])

    def _connect(self) -> None:
        self.prompt_box.observe(self._on_typed, "value")
        self.template.observe(self._on_template, "value")
        for control in (self.temperature, self.top_k, self.top_p):
            control.observe(self._on_sampling, "value")
        for number, button in enumerate(self.token_buttons):
            button.on_click(functools.partial(self._on_token, number))
        self.undo.on_click(functools.partial(self._on_travel, -1))
        self.redo.on_click(functools.partial(self._on_travel, +1))
        self.reset.on_click(self._on_reset)
        for name, button in self.generate.items():
            button.on_click(functools.partial(self._on_generate, name))
        self.stop.on_click(lambda _: self._stop.set())

    # --- what a learner does

    @_guarded
    def _on_typed(self, change: Any) -> None:
        if not self._syncing:
            self._go(State(change["new"], (), self.state.template), typed=True)

    @_guarded
    def _on_template(self, change: Any) -> None:
        if not self._syncing:
            self._go(State(self._boxed(self.state), (), bool(change["new"])))

    @_guarded
    def _on_sampling(self, _: Any) -> None:
        self._refresh()

    @_guarded
    def _on_token(self, number: int, _: Any) -> None:
        if number < len(self.table):
            token_id = int(self.table["token_id"].iloc[number])
            self._go(replace(self.state, tail=(*self.state.tail, token_id)))

    @_guarded
    def _on_travel(self, by: int, _: Any) -> None:
        if 0 <= self._at + by < len(self._steps):
            self._enter(self._at + by)

    @_guarded
    def _on_reset(self, _: Any) -> None:
        if self.state != self._steps[0]:
            self._go(self._steps[0])

    def _go(self, state: State, typed: bool = False) -> None:
        """A new step, which can be undone; a further keystroke changes the last one."""
        at = self._at if typed and self._typing else self._at + 1
        self._steps[at:] = [state]
        self._enter(at, typed)

    def _enter(self, at: int, typed: bool = False) -> None:
        self._halt()
        self._at, self._typing = at, typed
        for area in self.written.values():
            area.value = ""
        self._refresh()

    # --- what the models read and predict

    @property
    def token_ids(self) -> list[int]:
        """The ids that both variants read. With the template on, the base reads the instruct's as well."""
        if self.state.template:
            ids = self.pair.instruct.encode([{"role": "user", "content": self.state.text}])
        else:
            ids = self.pair.instruct.encode(self.state.text)
        return [*ids, *self.state.tail]

    def _boxed(self, state: State) -> str:
        """What the prompt box shows: without a template, clicked tokens continue the typed text."""
        if state.template or not state.tail:
            return state.text
        return state.text + self.pair.instruct.decode(state.tail, False)

    def _distribution(self, token_ids: list[int]) -> pd.DataFrame:
        settings = (self.temperature.value, self.top_k.value, self.top_p.value)
        probs = {
            name: processed_probs(self.pair[name].next_token_logits(token_ids), *settings).cpu()  # (vocab,)
            for name in self.generate
        }
        # A token that the settings rule out for both variants is not shown.
        possible = [i for i in best_tokens(probs, self.k) if any(row[i] > 0 for row in probs.values())]
        shown = possible[: self.k]
        columns = {"token": [token_text(self.pair.instruct.tokenizer, i) for i in shown], "token_id": shown}
        return pd.DataFrame(columns | {f"prob_{name}": row[shown].tolist() for name, row in probs.items()})

    def _refresh(self) -> None:
        """Make every control show `state`."""
        self._sync_controls()
        try:
            token_ids = self.token_ids
            self.table = self._distribution(token_ids)
        except Exception as error:
            # For instance an empty prompt: it is said in the explorer, and the next edit mends it.
            self.table = self.table.iloc[:0]
            self._show_error(error)
        else:
            self.message.value = ""
            self.reads.value = self._reads_html(token_ids)
        self.bars.value = _bars_html(self.table)
        for number, button in enumerate(self.token_buttons):
            self._label(button, number)

    def _sync_controls(self) -> None:
        self._syncing = True
        try:
            boxed = self._boxed(self.state)
            if self.prompt_box.value != boxed:
                self.prompt_box.value = boxed
            self.template.value = self.state.template
            self.undo.disabled = self._at == 0
            self.redo.disabled = self._at == len(self._steps) - 1
        finally:
            self._syncing = False

    def _label(self, button: widgets.Button, number: int) -> None:
        if number >= len(self.table):
            button.layout.visibility = "hidden"
            return
        row = self.table.iloc[number]
        shown = visible_token(row["token"])
        button.description = shown
        button.tooltip = (
            f"append {shown} (id {row['token_id']}): base {short_number(row['prob_base'])}, "
            f"instruct {short_number(row['prob_instruct'])}"
        )
        button.layout.visibility = "visible"

    def _reads_html(self, token_ids: list[int]) -> str:
        tokenizer = self.pair.instruct.tokenizer
        clicked_from = len(token_ids) - len(self.state.tail)
        first = max(0, len(token_ids) - SHOWN_TOKENS)
        tokens = []
        for place, token_id in enumerate(token_ids[first:], first):
            text = token_text(tokenizer, token_id)
            looks = {"special": is_special(tokenizer, token_id), "clicked": place >= clicked_from}
            tokens.append({"text": visible_token(text), "ends_line": text.endswith("\n"), **looks})
        return _html("reads", len(token_ids), tokens, first > 0)

    # --- writing to the end

    @_guarded
    def _on_generate(self, name: str, _: Any) -> None:
        self._halt()
        self._stop = threading.Event()
        # A thread, so that the kernel stays free to hear the Stop button.
        job = (name, self.token_ids, self._stop)
        self._writer = threading.Thread(target=self._write, args=job, daemon=True)
        self._writer.start()

    def wait(self, timeout: float | None = None) -> None:
        """Wait until nothing is being written (at most `timeout` seconds)."""
        if self._writer is not None:
            self._writer.join(timeout)

    def _halt(self) -> None:
        self._stop.set()
        self.wait()

    @_guarded
    def _write(self, name: str, token_ids: list[int], stop: threading.Event) -> None:
        variant = self.pair[name]
        room = self.max_new_tokens
        if variant.context_length is not None:
            room = max(1, min(room, variant.context_length - len(token_ids)))
        self.stop.disabled = False
        settings = {setting: getattr(self, setting).value for setting in self.numbers}
        pieces = variant.stream_complete(token_ids, room, **settings)
        text, ending, last = "", "stopped by you", 0.0
        try:
            while not stop.is_set():
                try:
                    text += next(pieces)
                except StopIteration as done:
                    cut = f"cut after {len(done.value.token_ids)} tokens"
                    ending = "ended by itself" if done.value.stopped else cut
                    break
                if time.monotonic() - last > SECONDS_BETWEEN_UPDATES:
                    self.written[name].value, last = _written_html(name, text, "writing …"), time.monotonic()
            self.written[name].value = _written_html(name, text, ending)
        finally:
            pieces.close()
            self.stop.disabled = True

    # --- showing

    def _show_error(self, error: Exception) -> None:
        self.message.value = _html("error", type(error).__name__, str(error))

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> tuple[dict, dict]:
        data = {"text/plain": repr(self)}
        metadata: dict = {}
        if len(self.table):
            picture = draw_next_token(self.table, self._boxed(self.state))
            data = {"text/plain": alt_text(picture), "image/png": png_base64(picture)}
            metadata = {"image/png": png_metadata(picture)}
        view = {"version_major": 2, "version_minor": 0, "model_id": self.ui.model_id}
        return {**data, "application/vnd.jupyter.widget-view+json": view}, metadata

    def __repr__(self) -> str:
        return f"Explorer of {self.pair.name!r} at {self._boxed(self.state)!r}"


explore = Explorer

# --- pieces of the controls and their HTML -----------------------------------------------------------------


def _button(description: str, tooltip: str, width: str = "auto", **layout: str) -> widgets.Button:
    return widgets.Button(description=description, tooltip=tooltip, layout=Layout(width=width, **layout))


def _number_box(name: str, slider: Any, kind: type) -> Any:
    """A number to type, a slider's rounded to two digits: ipywidgets names boxes for a screen reader, but no slider."""
    box = kind(
        value=slider.value, min=slider.min, max=slider.max, step=slider.step, description=name,
        layout=Layout(width="140px"), style={"description_width": "84px"},
    )  # fmt: skip
    same = functools.partial(round, ndigits=2)  # a slider's 0.30000000000000004 is typed 0.3
    widgets.link((slider, "value"), (box, "value"), transform=(same, same))
    return box


def _html(macro: str, *contents: Any) -> str:
    return getattr(template("explorer.jinja").module, macro)(*contents)


def _written_html(name: str, text: str, ending: str) -> str:
    return _html("written", name, text, ending, variant_style(name).color)


def _bars_html(table: pd.DataFrame) -> str:
    fills = {name: _fill(name) for name in ("base", "instruct")}
    rows = []
    for row in table.to_dict("records"):
        bars = [(name, row[f"prob_{name}"], short_number(row[f"prob_{name}"])) for name in fills]
        said = ", ".join(f"{name} {number}" for name, _, number in bars)
        rows.append({"said": f"{visible_token(row['token'])}: {said}", "bars": bars})
    return _html("bars", rows, fills, ROW_PIXELS)


def _fill(name: str) -> str:
    """A variant's colour, the instruct's with stripes across, as in the figures."""
    style = variant_style(name)
    if not style.hatch:
        return f"background: {style.color};"
    stripes = f"repeating-linear-gradient(135deg, {style.color} 0 4px, rgba(255, 255, 255, 0.75) 4px 5px)"
    return f"background: {stripes};"
