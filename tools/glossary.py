"""Make docs/glossary.md from course_utils/glossary.json: `python course.py glossary [--check]`.

The JSON file is the only source: a list of {"term", "definition", "lessons"}, where lessons are numbers such as "01".
"""

import argparse
import json
import re
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from course_grading.report import TITLES

ROOT = Path(__file__).resolve().parent.parent
SOURCE, PAGE = ROOT / "course_utils" / "glossary.json", ROOT / "docs" / "glossary.md"
HEAD = """# Glossary

The key terms of all lessons. The numbers lead to the lessons that explain a term.
"""
FOOT = "Made from `course_utils/glossary.json` by `python course.py glossary`; change it there.\n"


class GlossaryError(ValueError):
    """Terms that no page can be made from; the message names the entry and what was expected."""


def read(path: Path = SOURCE) -> list[dict[str, Any]]:
    """The terms, in alphabetical order. Raises GlossaryError."""
    try:
        entries = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise GlossaryError(
            f"{path.name} is not valid JSON ({error}). Mend the file at that place."
        ) from None
    problems = validate(entries)
    if problems:
        raise GlossaryError(f"{path.name}: {'; '.join(problems)}.")
    return sorted(entries, key=order)


def validate(entries: Any) -> list[str]:
    """What is wrong with the entries, a phrase each; empty when nothing is."""
    if not isinstance(entries, list) or not entries:
        return ["expected a list of terms"]
    found, seen = [], set()
    for number, entry in enumerate(entries, 1):
        if not isinstance(entry, dict) or set(entry) != {"term", "definition", "lessons"}:
            found.append(f'entry {number}: expected an object with "term", "definition" and "lessons"')
            continue
        name = entry["term"]
        if not all(isinstance(entry[key], str) and entry[key].strip() for key in ("term", "definition")):
            found.append(
                f"entry {number} ({name}): the term and its definition must be texts that are not empty"
            )
            continue
        if not isinstance(entry["lessons"], list) or not entry["lessons"]:
            found.append(f"{name}: expected a list of lessons")
        else:
            missing = [lesson for lesson in entry["lessons"] if lesson not in TITLES]
            found += [f"{name}: there is no lesson {lesson!r}" for lesson in missing]
        if order(entry) in seen:
            found.append(f"{name}: stands there twice")
        seen.add(order(entry))
    return found


def order(entry: dict[str, Any]) -> str:
    """What terms are sorted by: their letters, without the marks of code."""
    return entry["term"].replace("`", "").casefold()


def page(entries: list[dict[str, Any]]) -> str:
    """The glossary as Markdown, one paragraph per term; `glossary.md#loss-mask` leads to the one of "loss mask"."""
    parts = [HEAD]
    for entry in entries:
        links = ", ".join(f"[{n}](../notebooks/{_file(n)})" for n in sorted(set(entry["lessons"])))
        text = f"**{entry['term']}**: {entry['definition'].strip()} ({links})"
        parts.append(f'<a id="{anchor(entry["term"])}"></a>\n{text}\n')
    return "\n".join([*parts, FOOT])


def anchor(term: str) -> str:
    """The name of a term's place on the page: its letters and digits, with hyphens between the words."""
    return re.sub(r"[^a-z0-9]+", "-", term.lower()).strip("-")


def _file(lesson: str) -> str:
    """The name of a lesson's notebook: its number and its title."""
    return f"{lesson}_{re.sub(r'[^a-z0-9]+', '_', TITLES[lesson].lower())}.ipynb"


def main(argv: list[str]) -> int:
    """Write the page, or with --check only say whether it is up to date. 1 when it is not, or cannot be made."""
    parser = argparse.ArgumentParser(description="Make docs/glossary.md from course_utils/glossary.json.")
    parser.add_argument(
        "--check", action="store_true", help="change nothing; fail if the page is not up to date"
    )
    options = parser.parse_args(argv)
    try:
        entries = read()
    except GlossaryError as error:
        print(error)
        return 1
    text = page(entries)
    if options.check:
        same = PAGE.exists() and PAGE.read_text(encoding="utf-8") == text
        print(f"{PAGE.name}: " + ("up to date" if same else "differs. Next: python course.py glossary"))
        return int(not same)
    PAGE.parent.mkdir(exist_ok=True)
    PAGE.write_text(text, encoding="utf-8", newline="\n")
    print(f"{PAGE.name}: {len(entries)} terms")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
