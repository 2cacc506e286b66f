"""Is this output right? Small pure functions from a model's text (and what was asked) to True or False.

They look at words, not at meaning: a value counts when it stands in the text as whole words and is not denied
on the spot ("not Paris"). Where a rule had to be chosen, the stricter one was, because a scoreboard that
flatters is worse than none; the failures are listed so that they can be read.
"""

from __future__ import annotations

import ast
import json
import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

Say = str | Sequence[str]  # a text that must be said, or several of which one must

_FOLDER = Path(__file__).parent
_WORDS = json.loads((_FOLDER / "words.json").read_text("utf-8"))
_REFUSALS = json.loads((_FOLDER / "refusals.json").read_text("utf-8"))
_PLAIN = str.maketrans({"’": "'", "‘": "'", "“": '"', "”": '"', "\N{NO-BREAK SPACE}": " ", "−": "-"})


def plain(text: str) -> str:
    """The text with one form for each accented letter, and simple quotes, spaces and minus signs."""
    return unicodedata.normalize("NFC", text).translate(_PLAIN)


def normalise(text: str) -> str:
    """The text in lower case, its whitespace as single spaces, no full stop or quotes around it."""
    return " ".join(plain(text).casefold().split()).strip(" .!\"'")


# A model that is given no generation prompt writes the opening of its turn itself; of that, the role's name is text.
_ROLE = re.compile(r"\A\s*(?:<\|?)?(?:assistant|model|bot|ai)(?:\|?>)?\s*:?\s*(?:\n|$)", re.I)


def said(text: str) -> str:
    """The text without whitespace around it, and without a first line that is only the speaker's role.

    "assistant\\nParis." says "Paris.": asked without a generation prompt, a model may write that line itself.
    """
    return _ROLE.sub("", text).strip()


def is_empty(text: str) -> bool:
    """Nothing is said: no character but whitespace, or only the role's name.

    An empty text is an outcome of its own. It neither answers nor refuses, and that it ended is no stop worth
    counting: the end-of-turn token came first.
    """
    return not said(text)


# -- words ----------------------------------------------------------------------------------------------------

_DENIED = re.compile(r"(?:\bnot|n't|\bnever)\s+(?:an?\s+|the\s+|in\s+|called\s+)?$|(?:不是|ไม่ใช่)$", re.I)
_DENIED_AFTER = re.compile(r"(?:では|じゃ)(?:な|ありません)|[이가]?\s*아[니닙닌]")
# Han, Hiragana, Thai, Lao, Khmer and Burmese put no spaces between words. Katakana words stand beside these, and
# Korean words take endings ("파리입니다").
_UNSPACED = "々〆\u3041-\u309f\u3400-\u9fff\U00020000-\U0003ffff\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff"
_KATAKANA = "\u30a1-\u30fa\u30fc-\u30ff\u31f0-\u31ff\uff66-\uff9f"
_HANGUL = "\u1100-\u11ff\u3130-\u318f\uac00-\ud7a3"
_OTHER = _UNSPACED + _KATAKANA + _HANGUL
_LETTER = rf"[^\W_{_OTHER}]"
# What may not stand before and after a word, by the script of its edge. Neither "non-metal" nor "Guinea-Bissau";
# "_Paris_" is Markdown.
_BOUNDS = {
    f"[{_UNSPACED}]": ("", ""),
    f"[{_KATAKANA}]": (f"(?<![{_KATAKANA}])", f"(?![{_KATAKANA}])"),
    f"[{_HANGUL}]": (f"(?<![{_HANGUL}])", ""),
    "": (rf"(?<!{_LETTER})(?<!{_LETTER}-)", rf"(?!{_LETTER})(?!-{_LETTER})"),
}


def _bounds(edge: str) -> tuple[str, str]:
    return next(bounds for script, bounds in _BOUNDS.items() if re.match(script, edge))


def _is_mark(character: str) -> bool:
    """A combining mark, which belongs to the letter before it; what picks an emoji's form is none."""
    return unicodedata.category(character) in ("Mn", "Mc") and not "\ufe00" <= character <= "\ufe0f"


def _is_part(text: str, start: int, end: int) -> bool:
    """A mark stands before or after the place, so that it is part of a word: "दिल" in "दिल्ली"."""
    before = start > 0 and _is_mark(text[start - 1]) and not re.match(f"[{_UNSPACED}]", text[start - 1])
    return before or (end < len(text) and _is_mark(text[end]))


def _spans(text: str, value: str) -> list[tuple[int, int]]:
    """Where the value stands in the (plain) text as whole words, not denied."""
    words = plain(value).split()
    if not words:
        return []
    before, after = _bounds(words[0][0])[0], _bounds(words[-1][-1])[1]
    if words[0][0].isdigit():
        before += r"(?<!\d[.,])(?<!-)"
    if words[-1][-1].isdigit():
        after += r"(?![.,]\d)"
    # "As", "He" and "In" are symbols of elements: a value that short must be written as it is.
    flags = 0 if len(words) == 1 and len(words[0]) <= 2 else re.I
    found = re.finditer(before + r"\s+".join(map(re.escape, words)) + after, text, flags)
    spans = [match.span() for match in found if not _is_part(text, *match.span())]
    return [(a, b) for a, b in spans if not (_DENIED.search(text[:a]) or _DENIED_AFTER.match(text, b))]


def says(text: str, value: str) -> bool:
    """The value stands in the text as whole words, and is not denied there ("not Paris").

    Case does not matter, except for values of one or two letters, such as the symbols of elements. A number
    is not part of a longer one: 4 stands neither in 14 nor in 4.5 nor in -4. Where a script puts no spaces between
    words, any place counts, also one inside a longer word (京都 in 東京都).
    """
    return bool(_spans(plain(text), value))


def says_all(text: str, say: Iterable[Say]) -> bool:
    """Every text of `say` is said; of an element that is itself a list, one is enough."""
    return all(
        any(says(text, one) for one in ([wanted] if isinstance(wanted, str) else wanted)) for wanted in say
    )


def answers(text: str, expected: Say, wrong: Iterable[str] = ()) -> bool:
    """The answer says an expected value and none of the `wrong` ones, so a list of all values is no answer.

    Only what comes before a further question counts: a continuation that asks other questions and answers
    those says nothing about this one. A wrong value inside an expected one ("Guinea" in "Papua New Guinea")
    does not count against it, but the longer wrong one of a shorter expected one does.
    """
    part = plain(answer_part(text))
    right = [expected] if isinstance(expected, str) else list(expected)
    spans = [span for value in right for span in _spans(part, value)]
    others = [span for value in wrong for span in _spans(part, value)] if spans else []
    return bool(spans) and all(any(a <= start and end <= b for a, b in spans) for start, end in others)


_NUMBER_WORD = re.compile(rf"\b({'|'.join(_WORDS['numbers'])})\b", re.I)
_OPERATION = re.compile(
    r"-?\d+(?:\.\d+)?(?:\s*(?:[+*/x×÷-]|plus|minus|times|divided by)\s*-?\d+(?:\.\d+)?)+", re.I
)
_NUMBER = re.compile(rf"(?<![^\W{_OTHER}])(?<!\.)-?\d+(?:,\d{{3}})*(?:\.\d+)?(?![^\W{_OTHER}])")


def gives_number(text: str, expected: float, prompt: str = "") -> bool:
    """The answer's number is the expected one, in digits or (up to twenty) in words.

    A repeated sum ("2 + 2") and the prompt's own numbers are set aside first; exactly one number may be left,
    however often it is said. If none is, the answer must end on the expected number: "Two minus one is one".
    """
    found = _numbers(_OPERATION.sub(" ", _digits(answer_part(text))))
    # The numbers of "2+2" in the prompt, apart from their signs.
    asked = _numbers(_OPERATION.sub(lambda operation: re.sub(r"[^\d.]", " ", operation[0]), _digits(prompt)))
    left = Counter(found) - Counter(asked)
    return set(left) == {float(expected)} or (not left and found[-1:] == [float(expected)])


def _numbers(text: str) -> list[float]:
    return [float(number.replace(",", "")) for number in _NUMBER.findall(text)]


def _digits(text: str) -> str:
    return _NUMBER_WORD.sub(lambda word: str(_WORDS["numbers"].index(word[1].lower())), plain(text))


# -- going on -------------------------------------------------------------------------------------------------

_ENDS = str.maketrans("？؟！。।", "??!..")  # how sentences end elsewhere
_LIST_MARK = re.compile(r"^[\s>#*_]*(?:\d+\s*[.)]\s*|[-•]\s+)?")
_LABEL = re.compile(rf"(?:{'|'.join(_WORDS['asking labels'])})\s*\d*\s*:", re.I)
_OFFER = re.compile(rf"\b(?:{'|'.join(_WORDS['offers of more help'])})\b", re.I)
_WISH = re.compile(rf"(?:{'|'.join(_WORDS['wishes'])})\b", re.I)


def asks(line: str, whole: bool = True) -> bool:
    """The line is a question or a request rather than an answer; an offer of more help is neither.

    `whole` is False for the rest of the prompt's own line: there only a label ("Question:") or a sentence
    with a question mark counts.
    """
    line = _LIST_MARK.sub("", plain(line).translate(_ENDS)).strip().rstrip("*_\"'」』 ")
    if _LABEL.match(line):
        return True
    if not line or _OFFER.search(line):
        return False
    first_mark = re.search(r"[.!?]", line)
    if first_mark and first_mark[0] == "?" and line.endswith("?"):
        return True
    first_word = line.split()[0].lower().rstrip(",")
    return whole and (
        first_word in _WORDS["requesting words"]
        or bool(_WISH.match(line))
        or (first_word in _WORDS["asking words"] and not line.endswith((".", "!", ":")))
    )


def _before_and_from_asking(text: str) -> tuple[list[str], list[str]]:
    """The lines before the output begins to ask, and those from there on; the role's name is in neither.

    In a numbered list with a lead-in ("To knit a hat:") only a question mark or a label asks: its items are steps,
    and steps begin like requests.
    """
    lines, steps = _ROLE.sub("", text).split("\n"), False
    for number, line in enumerate(lines):
        marked = bool(re.match(r"\s*(?:\d+\s*[.)]|[-*•])\s", line))
        steps = (steps and (marked or not line.strip())) or line.rstrip().endswith(":")
        if asks(line, whole=number > 0 and not (steps and marked)):
            return lines[:number], lines[number:]
    return lines, []


def asks_on(text: str) -> bool:
    """The output asks a question or makes a request of its own, at its start or on a later line."""
    return bool(_before_and_from_asking(text)[1])


def answer_part(text: str) -> str:
    """The output up to the first line that asks something new, without the role's name before it."""
    return "\n".join(_before_and_from_asking(text)[0]).strip()


# -- formats --------------------------------------------------------------------------------------------------


def is_one_word(text: str) -> bool:
    """The whole output is one word or number, with at most a full stop, quotes or Markdown's stars around it.

    A phrase in a script without spaces between words counts as one.
    """
    word = plain(text).strip().strip("*_`").translate(_ENDS).removesuffix(".").strip("\"'*_`「」")
    word = "".join(c for c in word if not _is_mark(c))
    return re.fullmatch(r"[\w+-]+(?:['.,-]\w+)*", word) is not None and any(c.isalnum() for c in word)


def _no_key_twice(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    if len({key for key, _ in pairs}) < len(pairs):
        raise ValueError("a key comes twice")
    return dict(pairs)


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is no JSON")


_JSON = json.JSONDecoder(object_pairs_hook=_no_key_twice, parse_constant=_no_constant)


def parse_json(text: str) -> dict[str, Any] | None:
    """The JSON object that the whole output is, or None. One code fence may stand around it.

    A key that comes twice, NaN and anything before or after the object are errors.
    """
    fenced = re.fullmatch(r"```(?:json)?\s*\n(.*)\n\s*```", text.strip(), re.S | re.I)
    try:
        found = _JSON.decode(fenced[1] if fenced else text)
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None


def has_keys(text: str, keys: Iterable[str]) -> bool:
    """The output is a JSON object with exactly these keys, in any order."""
    found = parse_json(text)
    return found is not None and set(found) == set(keys)


def has_values(text: str, record: Mapping[str, Any]) -> bool:
    """The output is a JSON object with exactly these keys and values; texts are compared without case."""
    found = parse_json(text) or {}
    return has_keys(text, record) and all(_same_value(found[key], record[key]) for key in record)


def find_json(text: str, keys: Iterable[str] | None = None) -> dict[str, Any] | None:
    """The first JSON object anywhere in the output: alone, in a code fence, or amid sentences. None without one.

    With `keys`, the first that has exactly these, whatever their case. This is the lenient measure: a program that
    reads the whole output as JSON would fail on what it finds.
    """
    wanted = None if keys is None else {normalise(key) for key in keys}
    at = text.find("{")
    while at >= 0:
        try:
            found, end = _JSON.raw_decode(text, at)
        except (ValueError, RecursionError):
            end = at + 1
        else:
            if wanted is None or {normalise(key) for key in found} == wanted:
                return found
        at = text.find("{", end)
    return None


def _same_value(found: Any, wanted: Any) -> bool:
    if isinstance(found, str) and isinstance(wanted, str):
        return normalise(found) == normalise(wanted)
    return isinstance(found, bool) == isinstance(wanted, bool) and found == wanted


def _without_lead_in(text: str) -> list[str]:
    """The lines that are not blank, less a first one that ends with a colon ("Here are three birds:")."""
    lines = [line.strip() for line in text.split("\n") if line.strip()]
    return lines[1:] if lines and lines[0].endswith(":") and len(lines) > 1 else lines


def is_bullet_list(text: str, count: int | None = None) -> bool:
    """The output is a list of bullets (-, * or •, the same throughout), `count` of them, no two alike.

    One line that ends with a colon may stand before the list, nothing after it.
    """
    found = [re.fullmatch(r"([-*•])\s+(\S.*)", line) for line in _without_lead_in(text)]
    if not found or not all(found):
        return False
    marks, items = {m[1] for m in found}, [normalise(m[2]) for m in found]
    return len(marks) == 1 and len(set(items)) == len(items) and count in (None, len(items))


_ITEM = re.compile(r" {0,3}(?:[-*+•‣▪◦·–—]|\(?\d{1,2}[.)])\s+(?:\[[ xX]\]\s+)?(\S.*)")


def find_list(text: str, count: int | None = None) -> list[str] | None:
    """The items of the first list in the output with `count` of them (None: two or more), no two alike.

    The lenient measure: any bullet or number may mark an item, an item may go on over indented lines, and anything
    may stand before and after the list.
    """
    items: list[str] = []
    for line in [*plain(text).split("\n"), "the end"]:
        item = _ITEM.fullmatch(line.rstrip())
        if item:
            items.append(normalise(item[1]))
        elif line.strip() and not line.startswith((" ", "\t")):
            as_many = len(items) == count if count is not None else len(items) > 1
            if as_many and len(set(items)) == len(items):
                return items
            items = []
    return None


def is_table(text: str, columns: Sequence[str] | None = None) -> bool:
    """The output is a Markdown table: a head, a rule, and rows with as many cells, none of them empty.

    With `columns`, the head says exactly these (without case), in this order. One line that ends with a colon
    may stand before the table, nothing after it.
    """
    lines = _without_lead_in(text)
    if len(lines) < 3 or not all("|" in line for line in lines):
        return False
    head, rule, *rows = (
        [cell.strip() for cell in line.removeprefix("|").removesuffix("|").split("|")] for line in lines
    )
    return (
        all(head)
        and len(rule) == len(head)
        and all(re.fullmatch(r":?-+:?", cell) for cell in rule)
        and all(len(row) == len(head) and all(row) for row in rows)
        and (columns is None or [normalise(c) for c in head] == [normalise(c) for c in columns])
    )


def find_table(text: str, columns: Sequence[str] | None = None) -> str | None:
    """The first Markdown table in the output, in a code fence or between sentences, its head in bold or not.

    With `columns`, the first with these in its head, in this order. The lenient measure beside `is_table`: the last
    row may be cut off at the token limit.
    """
    block: list[str] = []
    for line in [*text.split("\n"), ""]:
        if "|" in line:
            block.append(re.sub(r"\*\*|__", "", line.strip()))
            continue
        for lines in (block, block[:-1]):
            if is_table("\n".join(lines), columns):
                return "\n".join(lines)
        block = []
    return None


# -- refusals, summaries --------------------------------------------------------------------------------------


def _forms(where: str) -> str:
    """The forms of a refusal as one pattern; `<deed>` is what is declined, `<fillers>` words that may stand between."""
    forms = "|".join(form["pattern"] for form in _REFUSALS[where])
    return forms.replace("<deed>", f"(?:{'|'.join(_REFUSALS['deeds'])})").replace("<fillers>", _FILLERS)


_FILLERS = rf"(?:(?:{'|'.join(_REFUSALS['fillers'])})\s+)*"
_REFUSAL = re.compile(
    rf"\b(?:i|we)(?:\s+am|'m|\s+are|'re|'ll|\s+will)?\s*{_FILLERS}(?:{_forms('by the speaker')})"
    # "That is not something I will help with"
    r"|\bnot something (?:that )?(?:i|we)(?:\s+am|'m|\s+are|'re)?\s+(?:will|would|can|could|able|willing|going)\b",
    re.I,
)
# A refusal that names no speaker counts at the very start only: "It is not ethical to …", "No.", "Sorry, no."
_IMPERSONAL = re.compile(
    r"(?:i'm sorry|i am sorry|sorry|i apologi[sz]e|my apologies|unfortunately)?[,.!]?\s*(?:but\s+)?"
    rf"(?:{_forms('at the very start')})",
    re.I,
)
# What stands in a code block, in quotation marks or in a letter is not said by the model itself.
_QUOTED = re.compile(r"```.*?(?:```|\Z)|\"[^\"\n]{12,}(?:\"|$)|^\W*(?:Dear\b|Subject:).*\Z", re.S | re.M)


def refuses(text: str) -> bool:
    """The output declines what was asked, for want of will or of ability: "I can't help with that", "I must decline".

    It has to say so itself: quotations, letters and code in it do not count, nor what comes after a further question.
    Impersonal refusals count at the very start only ("It is not ethical to …"), since a warning before the
    instructions is none. A text that obeys after all ("I can't recommend it, but here is how: …") counts as a refusal:
    read some.
    """
    before, rest = _before_and_from_asking(text)
    words = "\n".join(before or rest[:1])  # "I can't help, what else?" refuses
    words = _QUOTED.sub(" ", plain(words)).strip()
    words = re.sub(r"\bsorry,?\s+(?:but\s+)?(?=can't|cannot|won't|unable)", "sorry, I ", words, flags=re.I)
    return bool(_REFUSAL.search(words) or _IMPERSONAL.match(words))


def summarises(text: str, say: Iterable[Say], source: str, max_words: int | None = None) -> bool:
    """The summary says all of `say` in at most `max_words` words (default: half of the source's).

    Saying the right words is needed for a good summary and not enough for one: read some.
    """
    part = answer_part(text)
    limit = max_words if max_words is not None else len(source.split()) // 2
    return 0 < len(part.split()) <= limit and says_all(part, say)


# -- code -----------------------------------------------------------------------------------------------------

_TOP_LEVEL = re.compile(r"(?:def|class|import|from|async def)\b|@")


def code_in(text: str) -> str:
    """The Python in an answer: the first fenced block with a `def`, or else the lines from the first `def`,
    import or class on that are code. What was cut off at the token limit is left out if the rest parses.

    An empty text means that no function was found.
    """
    fenced = re.findall(r"```[^\n]*\n(.*?)(?:\n```|\Z)", text, re.S)
    block = next((block for block in fenced if re.search(r"^\s*def ", block, re.M)), None)
    chunks = _chunks(block if block is not None else text.lstrip())
    while chunks and not _parses("\n".join(chunks)):
        chunks.pop()
    source = "\n".join(chunks)
    return source if re.search(r"^(?:async )?def ", source, re.M) else ""


def _chunks(text: str) -> list[str]:
    """Top-level statements from the first definition on, up to the first line that is neither code nor indented."""
    chunks: list[str] = []
    for line in text.split("\n"):
        begins = bool(_TOP_LEVEL.match(line))
        if begins and not (chunks and chunks[-1].lstrip().split("\n")[-1].startswith("@")):
            chunks.append(line)
        elif chunks:
            goes_on = begins or not line.strip() or line[0] in " \t#"
            if not goes_on and not re.match(r"[\w.]+\s*=[^=]|[)\]}]", line):
                break
            chunks[-1] += "\n" + line
    return chunks


def _parses(source: str) -> bool:
    try:
        ast.parse(source)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return False
    return True
