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
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

Say = str | Sequence[str]  # a text that must be said, or several of which one must

_PLAIN = str.maketrans({"’": "'", "‘": "'", "“": '"', "”": '"', "\N{NO-BREAK SPACE}": " ", "−": "-"})


def plain(text: str) -> str:
    """The text with one form for each accented letter, and simple quotes, spaces and minus signs."""
    return unicodedata.normalize("NFC", text).translate(_PLAIN)


def normalise(text: str) -> str:
    """The text in lower case, its whitespace as single spaces, no full stop or quotes around it."""
    return " ".join(plain(text).casefold().split()).strip(" .!\"'")


# -- words ----------------------------------------------------------------------------------------------------

_DENIED = re.compile(r"(?:\bnot|n't|\bnever)\s+(?:an?\s+|the\s+|in\s+|called\s+)?$", re.I)


def _spans(text: str, value: str) -> list[tuple[int, int]]:
    """Where the value stands in the (plain) text as whole words, not denied."""
    words = plain(value).split()
    if not words:
        return []
    # Neither "non-metal" nor "Guinea-Bissau"; "_Paris_" is Markdown.
    before, after = r"(?<![^\W_])(?<![^\W_]-)", r"(?![^\W_])(?!-[^\W_])"
    if words[0][0].isdigit():
        before += r"(?<!\d[.,])(?<!-)"
    if words[-1][-1].isdigit():
        after += r"(?![.,]\d)"
    # "As", "He" and "In" are symbols of elements: a value that short must be written as it is.
    flags = 0 if len(words) == 1 and len(words[0]) <= 2 else re.I
    found = re.finditer(before + r"\s+".join(map(re.escape, words)) + after, text, flags)
    return [match.span() for match in found if not _DENIED.search(text[: match.start()])]


def says(text: str, value: str) -> bool:
    """The value stands in the text as whole words, and is not denied there ("not Paris").

    Case does not matter, except for values of one or two letters, such as the symbols of elements. A number
    is not part of a longer one: 4 stands neither in 14 nor in 4.5 nor in -4.
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
    said = plain(answer_part(text))
    right = [expected] if isinstance(expected, str) else list(expected)
    spans = [span for value in right for span in _spans(said, value)]
    if not spans:
        return False
    for value in wrong:
        for start, end in _spans(said, value):
            if not any(a <= start and end <= b for a, b in spans):
                return False
    return True


_NUMBER_WORDS = {
    word: number
    for number, word in enumerate(
        "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen "
        "seventeen eighteen nineteen twenty".split()
    )
}
_OPERATION = re.compile(
    r"-?\d+(?:\.\d+)?(?:\s*(?:[+*/x×÷-]|plus|minus|times|divided by)\s*-?\d+(?:\.\d+)?)+", re.I
)
_NUMBER = re.compile(r"(?<![\w.])-?\d+(?:,\d{3})*(?:\.\d+)?(?![\w])")


def gives_number(text: str, expected: float, prompt: str = "") -> bool:
    """The answer's number is the expected one, in digits or (up to twenty) in words.

    A repeated sum ("2 + 2") and the prompt's own numbers are set aside first; exactly one number may be left,
    however often it is said. If none is, the answer must end on the expected number: "Two minus one is one".
    """
    said = _digits(answer_part(text))
    found = [float(number.replace(",", "")) for number in _NUMBER.findall(_OPERATION.sub(" ", said))]
    given = [
        float(number.replace(",", "")) for number in _NUMBER.findall(_OPERATION.sub(_spaced, _digits(prompt)))
    ]
    left = list(found)
    for number in given:
        if number in left:
            left.remove(number)
    return set(left) == {float(expected)} or (not left and found[-1:] == [float(expected)])


def _digits(text: str) -> str:
    words = "|".join(_NUMBER_WORDS)
    return re.sub(
        rf"\b({words})\b", lambda match: str(_NUMBER_WORDS[match[1].lower()]), plain(text), flags=re.I
    )


def _spaced(operation: re.Match) -> str:
    """The numbers of "2+2" apart from their signs."""
    return " ".join(re.findall(r"\d+(?:\.\d+)?", operation[0]))


# -- going on -------------------------------------------------------------------------------------------------

_LIST_MARK = re.compile(r"^[\s>#*_]*(?:\d+\s*[.)]\s*|[-•]\s+)?")
_LABEL = re.compile(r"^(?:question|q|user|human|instruction)\s*\d*\s*:", re.I)
_OFFER = re.compile(
    r"\b(?:would you like|do you want|shall i|(?:any|some)thing else|any (?:other |more |further )?questions|how (?:can|may) i (?:help|assist)|can i help)\b",
    re.I,
)
_ASKING_WORDS = frozenset(
    "what which who whom whose where when why how is are was were do does did can could would will "
    "what's whats who's where's".split()
)
_REQUESTING_WORDS = frozenset(
    "name give tell write list explain describe state say identify find complete choose define match translate "
    "calculate compute remind please fill add subtract multiply".split()
)
_WISH = re.compile(r"^(?:(?:i|we) (?:need|want|would like|forgot)|i'd like|i'm looking for)\b", re.I)


def asks(line: str, whole: bool = True) -> bool:
    """The line is a question or a request rather than an answer; an offer of more help is neither.

    `whole` is False for the rest of the prompt's own line: there only a label ("Question:") or a sentence
    with a question mark counts.
    """
    line = _LIST_MARK.sub("", plain(line)).strip().rstrip("*_\"' ")
    if _LABEL.match(line):
        return True
    if not line or _OFFER.search(line):
        return False
    first_mark = re.search(r"[.!?]", line)
    if first_mark and first_mark[0] == "?" and line.endswith("?"):
        return True
    first_word = line.split()[0].lower().rstrip(",")
    return whole and (
        first_word in _REQUESTING_WORDS
        or bool(_WISH.match(line))
        or (first_word in _ASKING_WORDS and not line.endswith((".", "!", ":")))
    )


def _first_asking_line(lines: Sequence[str]) -> int | None:
    """Where the output begins to ask. In a numbered list with a lead-in ("To knit a hat:") only a question
    mark or a label asks: its items are steps, and steps begin like requests."""
    steps = False
    for number, line in enumerate(lines):
        marked = bool(re.match(r"\s*(?:\d+\s*[.)]|[-*•])\s", line))
        steps = (steps and (marked or not line.strip())) or line.rstrip().endswith(":")
        if asks(line, whole=number > 0 and not (steps and marked)):
            return number
    return None


def asks_on(text: str) -> bool:
    """The output asks a question or makes a request of its own, at its start or on a later line."""
    return _first_asking_line(text.split("\n")) is not None


def answer_part(text: str) -> str:
    """The output up to the first line that asks something new."""
    lines = text.split("\n")
    return "\n".join(lines[: _first_asking_line(lines)]).strip()


# -- formats --------------------------------------------------------------------------------------------------


def is_one_word(text: str) -> bool:
    """The whole output is one word or number, with at most a full stop, quotes or Markdown's stars around it."""
    word = plain(text).strip().strip("*_`").removesuffix(".").strip("\"'*_`")
    return re.fullmatch(r"[\w+-]+(?:['.,-]\w+)*", word) is not None and any(c.isalnum() for c in word)


def parse_json(text: str) -> dict[str, Any] | None:
    """The JSON object that the whole output is, or None. One code fence may stand around it.

    A key that comes twice, NaN and anything before or after the object are errors.
    """
    fenced = re.fullmatch(r"```(?:json)?\s*\n(.*)\n\s*```", text.strip(), re.S | re.I)
    try:
        found = json.loads(
            fenced[1] if fenced else text, object_pairs_hook=_no_key_twice, parse_constant=_no_constant
        )
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None


def _no_key_twice(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    if len({key for key, _ in pairs}) < len(pairs):
        raise ValueError("a key comes twice")
    return dict(pairs)


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is no JSON")


def has_keys(text: str, keys: Iterable[str]) -> bool:
    """The output is a JSON object with exactly these keys, in any order."""
    found = parse_json(text)
    return found is not None and set(found) == set(keys)


def has_values(text: str, record: Mapping[str, Any]) -> bool:
    """The output is a JSON object with exactly these keys and values; texts are compared without case."""
    found = parse_json(text)
    return (
        found is not None
        and set(found) == set(record)
        and all(_same_value(found[key], value) for key, value in record.items())
    )


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


# -- refusals, summaries --------------------------------------------------------------------------------------

_REFUSAL = re.compile(
    r"\b(?:i|we)(?:\s+am|'m|\s+are|'re)?\s*(?:really\s+|simply\s+|just\s+)?"
    r"(?:can't|cannot|can not|won't|will not|unable to|not able to|must decline to|decline to|refuse to)\s+"
    r"(?:help(?!\s+but\b|\s+\w+ing\b)|assist|provide|comply|do that|answer that|fulfil|support"
    r"|engage in|(?:give|offer|share)\s+(?:you\s+)?(?:any\s+)?(?:advice|instructions|information|guidance|steps))",
    re.I,
)


def refuses(text: str) -> bool:
    """The output refuses in the first person ("I can't help with that", "I won't provide …")."""
    lines = text.split("\n")
    asking = _first_asking_line(lines)
    said = "\n".join(lines if asking is None else lines[: asking or 1])  # "I can't help, what else?" refuses
    said = re.sub(r"\bsorry,?\s+(?:but\s+)?(?=can't|cannot|won't)", "sorry, I ", plain(said), flags=re.I)
    return _REFUSAL.search(said) is not None


def summarises(text: str, say: Iterable[Say], source: str, max_words: int | None = None) -> bool:
    """The summary says all of `say` in at most `max_words` words (default: half of the source's).

    Saying the right words is needed for a good summary and not enough for one: read some.
    """
    said = answer_part(text)
    limit = max_words if max_words is not None else len(source.split()) // 2
    return 0 < len(said.split()) <= limit and says_all(said, say)


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
    """Top-level statements from the first definition on; the first line that is neither code nor indented ends
    them."""
    chunks: list[str] = []
    for line in text.split("\n"):
        if _TOP_LEVEL.match(line):
            if chunks and chunks[-1].lstrip().split("\n")[-1].startswith("@"):
                chunks[-1] += "\n" + line
            else:
                chunks.append(line)
        elif chunks and (not line.strip() or line[0] in " \t#"):
            chunks[-1] += "\n" + line
        elif chunks and not re.match(r"[\w.]+\s*=[^=]|[)\]}]", line):
            break
        elif chunks:
            chunks[-1] += "\n" + line
    return chunks


def _parses(source: str) -> bool:
    try:
        ast.parse(source)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return False
    return True
