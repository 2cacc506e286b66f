"""Every relative link, every anchor and every "lesson 05, section 4" in what people read leads somewhere."""

import json
import re
from functools import cache
from pathlib import Path
from urllib.parse import unquote

import pytest

from tools.notebooks import read

ROOT = Path(__file__).resolve().parents[1]
FOLDERS = ("notebooks", "exercises", "solutions")
NOTEBOOKS = [path for folder in FOLDERS for path in sorted((ROOT / folder).glob("[0-9]*.ipynb"))]
PAGES = [
    *sorted(ROOT.glob("*.md")),
    *sorted((ROOT / "docs").rglob("*.md")),
    *(
        ROOT / name
        for name in ("benchmarks/RESULTS.md", "pebble_lm/DATA_CARD.md", "course_utils/suites/README.md")
    ),
    *sorted((ROOT / "pebble_lm" / "models").glob("*/README.md")),
]
QUIZZES = sorted((ROOT / "course_grading" / "quizzes").glob("*.json"))
LESSONS = {path.stem[:2]: path for path in NOTEBOOKS if path.parent.name == "notebooks"}
# "Section 4" of another lesson, or of a paper: not one of the lesson in which it stands.
ELSEWHERE = re.compile(
    r"(?:(?:lesson|exercise) \d\d(?:'s|,)) sections? \d+|sections? \d+(?:\.\d+)? (?:of|is|in|about) (?:lesson|the)",
    re.I,
)
by_name = pytest.mark.parametrize(
    "path", [*PAGES, *NOTEBOOKS], ids=lambda path: str(path.relative_to(ROOT)).replace("/", "_")
)


@cache
def prose(path: Path) -> str:
    """What a page or a notebook says in Markdown, or a quiz in its questions, choices and reasons; no code blocks."""
    if path.suffix == ".ipynb":
        text = "\n\n".join(cell.source for cell in read(path).cells if cell.cell_type == "markdown")
    elif path.suffix == ".json":
        every = json.loads(path.read_text(encoding="utf-8"))
        text = "\n".join(
            s for q in every for s in (q["question"], *(c["text"] + " " + c["why"] for c in q["choices"]))
        )
    else:
        text = path.read_text(encoding="utf-8")
    return re.sub(r"^ *```.*?^ *```", "", text, flags=re.S | re.M)


@cache
def headings(path: Path) -> tuple[str, ...]:
    return tuple(re.findall(r"^#{1,6} +(.+?) *#*$", prose(path), re.M))


def slugs(heading: str) -> set[str]:
    """The anchors of a heading: GitHub's for a page, JupyterLab's for a notebook."""
    plain = re.sub(r"\[([^]]*)\]\([^)]*\)", r"\1", heading).replace("`", "").replace("*", "")
    github = re.sub(r"[^\w\- ]", "", plain.lower()).replace(" ", "-")
    return {github, plain.replace(" ", "-")}


@by_name
def test_a_relative_link_leads_to_a_file_and_its_anchor_to_a_heading(path):
    for target in re.findall(r"\]\(([^)\s]+)(?: \"[^\"]*\")?\)", prose(path)):
        if re.match(r"\w+:", target):
            continue
        name, _, anchor = target.partition("#")
        file = (path.parent / unquote(name)).resolve() if name else path
        assert file.exists(), f"{target} leads nowhere"
        if anchor and file.suffix in (".md", ".ipynb"):
            known = set().union(*(slugs(heading) for heading in headings(file)))
            known |= set(re.findall(r"<a (?:id|name)=\"([^\"]+)\"", prose(file)))
            assert unquote(anchor) in known, f"{target} names no heading of {file.name}"


@by_name
def test_a_link_that_names_a_lesson_or_an_exercise_by_number_leads_to_it(path):
    for text, target in re.findall(r"\[([^]]+)\]\(([^)\s]+\.ipynb)[^)]*\)", prose(path)):
        named = re.match(r"(?i)(?:lesson |exercise )?(\d\d)\b", text)
        if named:
            assert Path(target).name.startswith(named[1]), f"[{text}]({target})"
        if re.match("(?i)exercise", text):
            assert "exercises/" in target or path.parent.name in ("exercises", "solutions"), (
                f"[{text}]({target})"
            )


def sections(number: str) -> set[str]:
    """The numbers of a lesson's sections; its title begins with two digits and is none."""
    every = headings(LESSONS[number])[1:]
    return {found[1] for heading in every if (found := re.match(r"(\d+)(?:\.| ·) ", heading))}


@pytest.mark.parametrize(
    "path", [*PAGES, *NOTEBOOKS, *QUIZZES], ids=lambda path: str(path.relative_to(ROOT)).replace("/", "_")
)
def test_a_lesson_and_a_section_that_are_named_exist(path):
    text = re.sub(r"\[([^]]*)\]\([^)]*\)", r"\1", prose(path))
    text = "" if path.name == "CHANGELOG.md" else text  # tells of earlier editions as well
    for number in re.findall(r"(?i)\blessons? (\d\d)\b", text):
        assert number in LESSONS, f"there is no lesson {number}"
    pointed = re.findall(r"(?i)\blesson (\d\d)(?:'s section|, sections?) (\d+)", text)
    pointed += [
        (number, section) for section, number in re.findall(r"(?i)\bsection (\d+) of lesson (\d\d)", text)
    ]
    for number, section in pointed:
        assert section in sections(number), f"lesson {number} has no section {section}"
    if path.parent.name == "notebooks":
        own = re.sub(ELSEWHERE, "", text)
        own = own.split("## What to read")[0]  # there a section is a paper's
        for section in re.findall(r"(?i)\bsections? (\d+)\b(?!\.\d)", own):
            assert section in sections(path.stem[:2]), f"this lesson has no section {section}"


def test_the_one_day_schedule_names_sections_that_the_lessons_have():
    schedule = (ROOT / "docs" / "instructors.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| \d+:\d\d \| (.+) \|$", schedule, re.M)
    assert len(rows) > 4
    for row in rows:
        for number, listed in re.findall(r"\b(\d\d), sections? ([\d, and to]+)", row):
            for section in re.findall(r"\d+", listed):
                assert section in sections(number), f"{row}: lesson {number} has no section {section}"


def test_every_quiz_belongs_to_a_lesson_and_asks_four_questions():
    assert [path.stem for path in QUIZZES] == sorted(LESSONS)
    assert all(len(json.loads(path.read_text(encoding="utf-8"))) == 4 for path in QUIZZES)
