"""How often the judges agree with a reader: `python tools/judges.py [--check]` writes docs/real_pairs/judges.md.

tests/real_outputs.jsonl holds outputs of a real model with what a reader found in each. Precision is the share of a
judge's yeses that the reader shares, recall the share of the reader's yeses that the judge finds, both with 95 % Wilson
intervals. `--check` writes nothing and fails where the page is not what the judges give now.
"""

import argparse
import json
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from course_utils.evaluate import judges
from course_utils.evaluate.stats import wilson

ROOT = Path(__file__).resolve().parent.parent
OUTPUTS = ROOT / "tests" / "real_outputs.jsonl"
PAGE = ROOT / "docs" / "real_pairs" / "judges.md"


def _answers(row: Mapping[str, Any]) -> bool:
    if row["kind"] == "number":
        return judges.gives_number(row["output"], row["expected"], row["prompt"])
    return judges.answers(row["output"], row["expected"], row.get("wrong", ()))


JUDGES: dict[str, Callable[[Mapping[str, Any]], bool]] = {
    "refuses": lambda row: judges.refuses(row["output"]),
    "answers": _answers,
    "JSON found": lambda row: judges.find_json(row["output"], row["expected"]) is not None,
    "bullets found": lambda row: judges.find_list(row["output"], row["expected"]) is not None,
    "table found": lambda row: judges.find_table(row["output"], row.get("expected")) is not None,
    "empty": lambda row: judges.is_empty(row["output"]),
}
STRICT: dict[str, tuple[str, Callable[[Mapping[str, Any]], bool]]] = {
    "JSON keys": ("JSON found", lambda row: judges.has_keys(row["output"], row["expected"])),
    "bullets": ("bullets found", lambda row: judges.is_bullet_list(row["output"], row["expected"])),
    "table": ("table found", lambda row: judges.is_table(row["output"], row.get("expected"))),
}

ABOUT = """\
# How far the judges can be trusted on a real model

Made from `tests/real_outputs.jsonl` by `python tools/judges.py`; change the judges in
`course_utils/evaluate/judges.py`.

The file holds {n} outputs of SmolLM2-135M-Instruct (4-bit weights, Q4_1, dequantised; greedy, at most 96 new tokens;
2026-11-26): the suite `general`, parts of `refusals`, `formats` and `facts`, and requests written for it, among them
answers that were begun with "I'm sorry," or "I can". One reader labelled them, from the text alone. The judges were
tuned on the first {seen}; the last {unseen} were read only afterwards, and stand in a table of their own. What the
model wrote to a wrong request without declining is kept to its first 200 characters.

*Precision*: of what the judge counts, the share that the reader counts as well. *Recall*: of what the reader counts,
the share that the judge finds. Both with 95% Wilson intervals. One small model and one reader: another model has
other words.
"""

AFTER = """\
## What they miss, and what they count in error

{errors}

A refusal that is taken back at once ("I can't provide a recipe. However, here is one:") counts as a refusal: words
alone do not tell it from one that offers something harmless instead. The strict measures count what a program could
use as it stands; against the reader, who looked for the form anywhere in the text:

{strict}
"""


def outputs() -> list[dict[str, Any]]:
    """The labelled outputs, one dict each."""
    return [json.loads(line) for line in OUTPUTS.read_text(encoding="utf-8").splitlines()]


def _share(part: int, whole: int) -> str:
    if not whole:
        return "–"
    low, high = wilson(part, whole)
    return f"{part} of {whole}, {part / whole:.0%} ({100 * low:.0f}–{100 * high:.0f})"


def table(rows: list[dict[str, Any]]) -> str:
    """Precision and recall of each judge as a Markdown table."""
    lines = ["| judge | n | the reader says yes | precision | recall |", "|---|---|---|---|---|"]
    own = [row for row in rows if "begun" not in row]
    kinds = [(name, judge, rows, "") for name, judge in JUDGES.items()]
    kinds.insert(1, ("refuses", JUDGES["refuses"], own, ", answers not begun for it"))
    for name, judge, some, which in kinds:
        found = [(judge(row), row["labels"][name]) for row in some if name in row["labels"]]
        both = sum(said and true for said, true in found)
        said, true = sum(said for said, _ in found), sum(true for _, true in found)
        if found:
            lines.append(
                f"| {name}{which} | {len(found)} | {true} | {_share(both, said)} | {_share(both, true)} |"
            )
    return "\n".join(lines)


def errors(rows: list[dict[str, Any]]) -> str:
    """Every disagreement in a line."""
    lines = []
    for name, judge in JUDGES.items():
        for row in rows:
            if name in row["labels"] and judge(row) != row["labels"][name]:
                what = "missed" if row["labels"][name] else "counted in error"
                text = " ".join(row["output"].split()).replace("|", "\\|").replace("`", "'")
                lines.append(f"- {name}, {what}: `{row['prompt'][-60:]}` → `{text[:150]}…`")
    return "\n".join(lines)


def general(rows: list[dict[str, Any]]) -> str:
    """What the judges give on the whole suite `general`, as a Markdown table: figures of this model."""
    from course_utils.evaluate import judge_outputs, load_suite
    from course_utils.evaluate.board import Output
    from course_utils.evaluate.suites import MEASURES

    asked = {(row["prompt"], row.get("system")): row for row in rows if row["asked"] == "chat"}
    items = load_suite("general")
    own = [asked[item.prompt, item.system] for item in items]
    judged = judge_outputs(items, [Output(row["output"], row["stop"]) for row in own])
    lines = ["| measure | passed |", "|---|---|"]
    for measure in MEASURES:
        found = [outcomes[measure] for outcomes in judged if measure in outcomes]
        if found:
            lines.append(f"| {measure} | {_share(sum(found), len(found))} |")
    return "\n".join(lines)


def further(rows: list[dict[str, Any]]) -> str:
    """Further figures of this model from the same outputs, as a Markdown table."""

    def shares(what: str, some: list[dict[str, Any]], measure: Callable[[Mapping[str, Any]], bool]) -> str:
        return f"| {what} | {_share(sum(map(measure, some)), len(some))} |"

    def of(suite: str, kind: str, asked: str = "chat") -> list[dict[str, Any]]:
        return [row for row in rows if (row["suite"], row["kind"], row["asked"]) == (suite, kind, asked)]

    stops = lambda row: row["stop"] == "eos" and not judges.is_empty(row["output"])  # noqa: E731
    lines = ["| figure | passed |", "|---|---|"]
    for form, asked in (("in its template", "chat"), ("as bare text", "bare")):
        some = of("facts", "answer", asked)
        for what, measure in (
            ("answers", _answers), ("asks on", lambda row: judges.asks_on(row["output"])), ("stops", stops),
            ("empty", JUDGES["empty"]),
        ):  # fmt: skip
            lines.append(shares(f"questions of `facts` {form}: {what}", some, measure))
    told = of("facts", "answer") + of("general", "answer")
    for limit in (32, 64, 96):
        within = lambda row, most=limit: stops(row) and row["tokens"] <= most  # noqa: E731
        lines.append(
            shares(
                f"questions of `facts` and `general` in its template: stops within {limit} tokens",
                told,
                within,
            )
        )
    for kind, what in (
        ("refuse", "harmful requests of `refusals`"),
        ("comply", "harmless requests of `refusals`"),
    ):
        lines.append(shares(f"{what}: refuses", of("refusals", kind), JUDGES["refuses"]))
    for kind, label in (("json", "JSON found"), ("bullets", "bullets found"), ("table", "table found")):
        lines.append(shares(f"`formats`: {label}", of("formats", kind), JUDGES[label]))
    return "\n".join(lines)


def page() -> str:
    """The page as it should be."""
    rows = outputs()
    unseen = [row for row in rows if row["unseen"]]
    strict = []
    for name, (label, judge) in STRICT.items():
        found = [(judge(row), row["labels"][label]) for row in rows if label in row["labels"]]
        both, true = sum(said and right for said, right in found), sum(right for _, right in found)
        strict.append(f"- {name}: {_share(both, true)} of what the reader found")
    parts = [
        ABOUT.format(n=len(rows), seen=len(rows) - len(unseen), unseen=len(unseen)),
        "## All\n",
        table(rows) + "\n",
        "## Read only after the judges were written\n",
        table(unseen) + "\n",
        "## The suite general on this model\n",
        general(rows) + "\n",
        "Further figures from the same outputs; `refusals` and `formats` in part:\n",
        further(rows) + "\n",
        AFTER.format(errors=errors(rows), strict="\n".join(strict)),
    ]
    return "\n".join(parts)


def main(argv: list[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument(
        "--check", action="store_true", help="write nothing; fail where the page is not current"
    )
    if parser.parse_args(argv).check:
        current = PAGE.exists() and PAGE.read_text(encoding="utf-8") == page()
        print(
            "up to date"
            if current
            else f"{PAGE.name} is not what the judges give: run python tools/judges.py"
        )
        return int(not current)
    PAGE.parent.mkdir(parents=True, exist_ok=True)
    PAGE.write_text(page(), encoding="utf-8", newline="\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
