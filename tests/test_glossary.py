"""The glossary: one file of terms, a page made from it, and lessons that lead there."""

import json
import re
from pathlib import Path

import pytest

from tools import glossary, notebooks

LESSONS = sorted(Path(notebooks.NOTEBOOKS).glob("[0-9][0-9]_*.ipynb"))
ONE = {"term": "token", "definition": "A piece of text.", "lessons": ["00"]}


def test_the_page_is_what_the_terms_make():
    made = glossary.page(glossary.read())
    assert glossary.PAGE.read_text(encoding="utf-8") == made, "run: python course.py glossary"


def test_terms_stand_in_alphabetical_order_in_file_and_page():
    entries = json.loads(glossary.SOURCE.read_text(encoding="utf-8"))
    assert entries == glossary.read()
    shown = re.findall(r"^\*\*(.+?)\*\*:", glossary.PAGE.read_text(encoding="utf-8"), re.M)
    assert shown == [entry["term"] for entry in entries]


def test_every_term_has_a_place_of_its_own_on_the_page():
    text = glossary.PAGE.read_text(encoding="utf-8")
    places = re.findall(r'^<a id="([a-z0-9-]+)"></a>\n\*\*', text, re.M)
    assert len(set(places)) == len(places) == len(glossary.read())
    assert '<a id="loss-mask"></a>\n**loss mask**:' in text


def test_every_link_of_the_page_leads_to_a_lesson():
    targets = re.findall(r"\]\(([^)]+)\)", glossary.PAGE.read_text(encoding="utf-8"))
    written = {path.name[:2] for path in LESSONS}
    assert targets
    for target in set(targets):
        path = glossary.PAGE.parent / target
        # A lesson may have terms before it is there.
        assert path.exists() or path.name[:2] not in written, target


@pytest.mark.parametrize("path", LESSONS, ids=lambda path: path.stem)
def test_every_lesson_has_terms_there_and_leads_to_them(path):
    own = [entry for entry in glossary.read() if path.stem[:2] in entry["lessons"]]
    assert len(own) >= 5
    cells = [cell.source for cell in notebooks.read(path).cells if cell.cell_type == "markdown"]
    (terms,) = [cell for cell in cells if re.search(r"\*\*Key terms", cell)]
    assert "](../docs/glossary.md)" in terms


@pytest.mark.parametrize(
    "entries, said",
    [
        ([], "expected a list of terms"),
        ([{"term": "token"}], "entry 1: expected an object"),
        ([ONE | {"definition": " "}], r"entry 1 \(token\)"),
        ([ONE | {"lessons": []}], "token: expected a list of lessons"),
        ([ONE | {"lessons": ["77"]}], "no lesson '77'"),
        ([ONE, ONE | {"term": "Token"}], "Token: stands there twice"),
    ],
)
def test_what_is_wrong_is_named(entries, said, tmp_path):
    path = tmp_path / "glossary.json"
    path.write_text(json.dumps(entries))
    with pytest.raises(glossary.GlossaryError, match=said):
        glossary.read(path)


def test_check_tells_when_the_page_is_old(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(glossary, "PAGE", tmp_path / "glossary.md")
    assert glossary.main(["--check"]) == 1 and "differs" in capsys.readouterr().out
    assert glossary.main([]) == 0 and glossary.main(["--check"]) == 0
