"""The lessons: each runs from top to bottom in a fresh kernel without a network, what it claims holds for the
models shipped, and what is committed is executed, clean and in the course's style."""

import ast
import math
import re
import statistics
from functools import cache
from pathlib import Path

import nbformat
import pytest
from nbclient.exceptions import CellExecutionError

from tools import notebooks

ROOT = Path(__file__).resolve().parents[1]
LESSONS = sorted((ROOT / "notebooks").glob("[0-9][0-9]_*.ipynb"))
COLUMNS = 120  # a markdown line longer than this counts as several

# What a lesson's text tells the learner to see: tests/claims/NN.py, functions that run in the lesson's kernel after its
# last cell. Orderings, signs and wide margins only: the models may be trained again.
CLAIMS_OF = {path.stem: path for path in sorted((ROOT / "tests" / "claims").glob("[0-9][0-9].py"))}


def claims(number: str) -> list[str]:
    """The names of a lesson's claims, in the order in which they stand."""
    tree = ast.parse(CLAIMS_OF[number].read_text(encoding="utf-8")) if number in CLAIMS_OF else ast.Module([])
    return [n.name for n in tree.body if isinstance(n, ast.FunctionDef) and n.name.startswith("test_")]


CLAIM_CASES = [
    pytest.param(path, claim, id=f"{path.stem[:2]}: {claim.removeprefix('test_').replace('_', ' ')}")
    for path in LESSONS
    for claim in claims(path.stem[:2])
]
EVERY_LESSON = pytest.mark.parametrize("path", LESSONS, ids=lambda path: path.stem)


@cache
def committed(path: Path) -> nbformat.NotebookNode:
    return notebooks.read(path)


@pytest.fixture(scope="session")
def executed(tmp_path_factory):
    """Run a lesson once a session, in a copy: (its cells with fresh outputs, the claims that failed and why)."""

    @cache
    def run(path: Path) -> tuple[list, dict[str, str]]:
        folder = tmp_path_factory.mktemp(path.stem)
        notebook = nbformat.from_dict(committed(path))
        for cell in notebook.cells:
            if cell.cell_type == "code":
                cell.outputs, cell.execution_count = [], None
        own, number = len(notebook.cells), path.stem[:2]
        # The claims have a namespace of their own: a helper of theirs must not take the place of the lesson's.
        file = str(CLAIMS_OF[number])
        load = (
            f"exec(compile(open({file!r}, encoding='utf-8').read(), {file!r}, 'exec'), (its_claims := {{}}))"
        )
        for source in [load, *(f"its_claims[{claim!r}]()" for claim in claims(number))]:
            cell = nbformat.v4.new_code_cell(source, metadata={"tags": ["raises-exception"]})
            notebook.cells.append(cell)
        try:
            notebooks.run(notebook, folder)
        except CellExecutionError as error:
            pytest.fail(f"{path.name} does not run from top to bottom:\n{error}", pytrace=False)
        loaded, *tried = (error_of(cell) for cell in notebook.cells[own:])
        failed = {claim: loaded or error for claim, error in zip(claims(number), tried, strict=True)}
        return notebook.cells[:own], {claim: error for claim, error in failed.items() if error}

    return run


def error_of(cell) -> str:
    """The traceback of a cell that failed, without its colours; empty for one that did not."""
    lines = [line for o in cell.outputs if o.output_type == "error" for line in o.traceback]
    return re.sub(r"\x1b\[[0-9;]*m", "", "\n".join(lines))


# -- they run -------------------------------------------------------------------------------------------------


def test_every_lesson_has_claims_and_every_claim_a_lesson():
    assert len(LESSONS) >= 9
    assert list(CLAIMS_OF) == [path.stem[:2] for path in LESSONS]
    assert all(claims(number) for number in CLAIMS_OF)


@pytest.mark.notebooks
@pytest.mark.slow
@EVERY_LESSON
def test_a_lesson_runs_without_a_network_and_writes_nothing_to_stderr(path, executed):
    cells, _ = executed(path)
    said = [o.text for cell in cells for o in cell.get("outputs", []) if o.get("name") == "stderr"]
    assert said == []


@pytest.mark.notebooks
@pytest.mark.slow
@pytest.mark.parametrize("path, claim", CLAIM_CASES)
def test_what_a_lesson_claims_holds(path, claim, executed):
    _, failed = executed(path)
    assert claim not in failed, failed[claim]


@pytest.mark.notebooks
@pytest.mark.slow
@EVERY_LESSON
def test_the_committed_outputs_are_of_the_kinds_that_the_code_produces(path, executed):
    cells, _ = executed(path)
    fresh = notebooks.clean(
        nbformat.v4.new_notebook(cells=[nbformat.from_dict(cell) for cell in cells])
    ).cells
    for now, then in zip(without_real_pair(fresh), without_real_pair(committed(path).cells), strict=True):
        optional = "optional" in then.metadata.get("tags", [])  # needs a package that may or may not be here
        if now.cell_type == "code" and not optional:
            assert kinds(now) == kinds(then), f"cell {now.id}: execute the notebook again and commit it"


def kinds(cell) -> list[str]:
    """What a cell shows: stream names and the richest form of each display, runs of one stream joined."""
    found: list[str] = []
    for output in cell.outputs:
        if output.output_type == "stream":
            kind = output.name
        else:
            data = output.get("data", {})
            rich = [key for key in ("image/png", "text/html", "text/markdown", "text/plain") if key in data]
            kind = rich[0] if rich else output.output_type
        if not (output.output_type == "stream" and found[-1:] == [kind]):
            found.append(kind)
    return found


def without_real_pair(cells: list) -> list:
    """The cells before the section that needs a real pair: what stands there depends on the network."""
    for i, cell in enumerate(cells):
        if cell.cell_type == "markdown" and re.search(r"^## .*\breal pair", cell.source, re.M):
            return cells[:i]
    return cells


@EVERY_LESSON
def test_what_a_real_pair_is_asked_still_means_what_it_meant(path):
    """The section of the real pair runs only where there is one, so a name taken over in between is found here."""
    cells = committed(path).cells
    begin = len(without_real_pair(cells))
    end = next((i for i in range(begin + 1, len(cells)) if cells[i].source.startswith("## ")), len(cells))
    assigned, again = set(), set()
    for cell in cells[:begin]:
        if cell.cell_type == "code":
            names, loops = names_bound(cell.source)
            again |= assigned & (names | loops)
            assigned |= names
    for cell in cells[begin:end]:
        if cell.cell_type == "code":
            nodes = [node for node in ast.walk(ast.parse(cell.source)) if isinstance(node, ast.Name)]
            own = {node.id for node in nodes if isinstance(node.ctx, ast.Store)}
            own |= {node.arg for node in ast.walk(ast.parse(cell.source)) if isinstance(node, ast.arg)}
            taken = again & {node.id for node in nodes} - own
            assert not taken, f"cell {cell.id} reads {sorted(taken)}, which two earlier cells assign"


def names_bound(source: str) -> tuple[set[str], set[str]]:
    """What a cell binds for the cells after it: (names assigned, defined or imported; its loops' variables)."""
    names, loops = set(), set()
    waiting = list(ast.parse(source).body)
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            names.add(node.name)
            continue
        if isinstance(node, ast.Import | ast.ImportFrom):
            names |= {alias.asname or alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            names.add(node.id)
        elif isinstance(node, ast.For):
            loops |= {found.id for found in ast.walk(node.target) if isinstance(found, ast.Name)}
            waiting += node.body + node.orelse
            continue
        scopes = ast.Lambda | ast.ListComp | ast.SetComp | ast.DictComp | ast.GeneratorExp
        waiting += [child for child in ast.iter_child_nodes(node) if not isinstance(child, scopes)]
    return names, loops


# -- what is committed ----------------------------------------------------------------------------------------


@EVERY_LESSON
def test_a_committed_lesson_is_executed_in_order_and_clean(path):
    assert notebooks.flaws(committed(path)) == []


@EVERY_LESSON
def test_a_committed_lesson_carries_no_error_no_stderr_and_no_widget_state(path):
    notebook = committed(path)
    assert "widgets" not in notebook.metadata
    for cell in notebook.cells:
        for output in cell.get("outputs", []):
            assert output.output_type != "error", cell.id
            assert output.get("name") != "stderr", cell.id
            assert not any("widget" in mime for mime in output.get("data", {})), cell.id


@EVERY_LESSON
def test_every_cell_has_a_name_of_its_own(path):
    names = [cell.get("id") for cell in committed(path).cells]
    assert all(names) and len(set(names)) == len(names)


# A path from the root of somebody's disk; not one inside an address or a tag.
MACHINE_PATH = re.compile(
    r"(?<![\w:/.<~-])/(?:home|Users|root|tmp|work|mnt|opt|var|private|srv|usr)/\w|\b[A-Z]:\\\w"
)


@EVERY_LESSON
def test_no_path_of_any_machine_is_in_a_lesson(path):
    for where, text in texts(committed(path)):
        for forbidden in (str(ROOT), str(Path.home())):
            assert forbidden == "/" or forbidden not in text, f"{where} holds {forbidden}"
        found = MACHINE_PATH.search(text)
        assert found is None, f"{where}: …{text[max(0, found.start() - 30) : found.end() + 30]}…"


def texts(notebook) -> list[tuple[str, str]]:
    """Every text in a notebook with the cell it stands in: sources and what was printed or shown."""
    found = []
    for cell in notebook.cells:
        found.append((cell.id, cell.source))
        for output in cell.get("outputs", []):
            shown = [output.get("text", ""), *output.get("traceback", [])]
            shown += [text for mime, text in output.get("data", {}).items() if mime.startswith("text/")]
            found += [(cell.id, text) for text in shown if isinstance(text, str)]
    return found


@EVERY_LESSON
def test_every_figure_says_in_words_what_it_shows(path):
    cells = committed(path).cells
    for cell, following in zip(cells, [*cells[1:], None], strict=True):
        for output in cell.get("outputs", []):
            if "image/png" in output.get("data", {}):
                alt = output.metadata.get("image/png", {}).get("alt", "")
                explained = following is not None and following.cell_type == "markdown"
                assert alt.strip() or explained, f"cell {cell.id}: no alt text and no sentence beneath"
        if cell.cell_type == "markdown":
            bare = re.findall(r"!\[\s*\]\(", cell.source) + re.findall(
                r"<img(?![^>]*\balt=)[^>]*>", cell.source
            )
            assert not bare, f"cell {cell.id}: a picture without alt text"


# -- style ----------------------------------------------------------------------------------------------------


@EVERY_LESSON
def test_the_rhythm_is_short_cells_and_never_three_code_cells_in_a_row(path):
    cells = committed(path).cells
    code = [sum(bool(line.strip()) for line in c.source.splitlines()) for c in cells if c.cell_type == "code"]
    for cell in cells:
        if cell.cell_type == "code":
            assert len(cell.source.splitlines()) <= 20, f"code cell {cell.id} is long"
        else:
            assert text_lines(cell.source) <= 14, f"markdown cell {cell.id} is long"
    assert statistics.median(code) <= 10
    kinds_in_order = "".join("c" if cell.cell_type == "code" else "m" for cell in cells)
    assert "ccc" not in kinds_in_order, f"after cell {cells[kinds_in_order.find('ccc')].id}"


def text_lines(source: str) -> int:
    """Lines with text; one that runs on counts as the lines it fills, folded answers as one."""
    shown = re.sub(r"</summary>.*?</details>", "", source, flags=re.S)
    return sum(math.ceil(len(line) / COLUMNS) for line in shown.splitlines() if line.strip())


DECIMAL = re.compile(r"(?<![\w.:/])\d+\.\d+(?![\w.])")
NOT_A_RESULT = re.compile(
    r"`[^`]*`|arXiv:? ?\d{4}\.\d{5}|\b(?:Python|JupyterLab|version|v) ?\d[\d.]*|\]\([^)]*\)"
)


@EVERY_LESSON
def test_no_measured_number_stands_in_prose(path):
    """A decimal number in prose is a setting that the code shows, or a published figure with its source."""
    cells = committed(path).cells
    code = "\n".join(cell.source for cell in cells if cell.cell_type == "code")
    for cell in cells:
        if cell.cell_type != "markdown":
            continue
        for paragraph in re.split(r"\n\s*\n", cell.source):
            numbers = DECIMAL.findall(NOT_A_RESULT.sub(" ", paragraph))
            unexplained = [number for number in numbers if number not in code]
            assert not unexplained or "arXiv" in paragraph, f"cell {cell.id}: {unexplained}"


@EVERY_LESSON
def test_a_lesson_opens_and_closes_as_all_do(path):
    cells = [cell.source for cell in committed(path).cells if cell.cell_type == "markdown"]
    opening, everything = "\n".join(cells[:2]), "\n".join(cells)
    number = path.stem[:2]
    assert cells[0].startswith(f"# {number} · "), "the title is '# NN · Name'"
    for needed in ("minutes", "Needs"):
        assert needed in opening, f"the opening says nothing of {needed!r}"
    assert re.search(r"(?i)you (?:can|will be able to)", opening)
    assert "Predict" in everything
    assert re.search(r"(?i)key idea|in one sentence", everything)
    assert re.search(r"(?i)key terms", everything)
    questions = [cell for cell in committed(path).cells if f'quiz("{number}")' in cell.source]
    assert len(questions) == 1, f'the self-check is one cell with quiz("{number}")'
    assert "<details>" in questions[0].outputs[0].data["text/html"], "what is read without a kernel"
    assert re.search(r"(?i)\bto read\b", everything) and "arXiv" in everything
    assert "real pair" in everything
    assert re.search(r"\bNext\b", cells[-1])


@EVERY_LESSON
def test_links_between_files_lead_somewhere(path):
    for cell in committed(path).cells:
        if cell.cell_type == "markdown":
            for target in re.findall(r"\]\(([^)#\s]+)", cell.source):
                if not re.match(r"\w+:", target):
                    assert (path.parent / target).exists(), f"cell {cell.id} links to {target}"
