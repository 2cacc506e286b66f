"""One address for the badges, the clone line and the set-up cells: written once, in every notebook the same, undone
without a trace; and what is committed is as the address says."""

import ast
import json
import os
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

import course
from tools import badges, exercises, notebooks

HERE = badges.Address("ada/base-vs-instruct", "v1.2.0")
NOWHERE = badges.Address("", "v1.2.0")
SOME = badges.sources()
EVERY_SOURCE = pytest.mark.parametrize("path", SOME, ids=lambda path: f"{path.parent.name}-{path.stem}")


def executed_notebook() -> nbformat.NotebookNode:
    """A title and three cells that were run, the last one failing as its author meant it to."""
    result = new_output("execute_result", data={"text/plain": "2"}, execution_count=2)
    said = ["\x1b[36mCell \x1b[0m\x1b[32mIn[3], line 1\x1b[0m", "list[3] is no cell", "Cell In[13]"]
    error = new_output("error", ename="ZeroDivisionError", evalue="", traceback=said)
    cells = [
        new_markdown_cell("# 07 · A title\n\nIts text.\n\n- and a list"),
        new_code_cell("print(1)", outputs=[new_output("stream", text="1\n")], execution_count=1),
        new_code_cell("1 + 1", outputs=[result], execution_count=2),
        new_code_cell("1/0", outputs=[error], execution_count=3, metadata={"tags": ["raises-exception"]}),
        new_code_cell(""),
    ]
    for number, cell in enumerate(cells):
        cell.id = f"l07-{number}"
    return notebooks.clean(new_notebook(cells=cells))


def write(notebook: nbformat.NotebookNode, address: badges.Address = HERE) -> nbformat.NotebookNode:
    return badges.with_setup(notebook, "notebooks/07_a_title.ipynb", address)


# -- what is committed ----------------------------------------------------------------------------------------


def test_every_committed_file_is_as_the_one_setting_asks():
    stale = [path.name for path in badges.differing(badges.read_address())]
    assert stale == [], "run python course.py badges"


def test_the_set_up_cell_is_the_same_in_every_notebook_and_short():
    found = set()
    for path in [*SOME, *sorted(exercises.EXERCISES.glob("*.ipynb"))]:
        cell = notebooks.read(path).cells[1]
        assert cell.id == badges.SETUP_ID, path.name
        assert cell.metadata.jupyter.source_hidden and cell.metadata.cellView == "form", path.name
        assert cell.source.startswith("#@title "), "what Colab shows in place of the code"
        found.add(cell.source)
    assert len(found) == 1 and len(found.pop().splitlines()) <= 10


def test_the_tag_of_the_setting_is_the_version_of_the_course():
    assert badges.read_address().tag == badges.version_tag()


# -- notebooks ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("address", [HERE, NOWHERE], ids=["published", "nowhere"])
@EVERY_SOURCE
def test_an_executed_notebook_stays_executed_and_keeps_every_result(path, address):
    before = notebooks.read(path)
    after = badges.with_setup(before, badges.opened_as(path), address)
    assert (notebooks.flaws(after) == []) == (notebooks.flaws(before) == [])
    old = [cell for cell in before.cells[1:] if cell.get("id") != badges.SETUP_ID]
    for cell, kept in zip(old, after.cells[2:], strict=True):
        assert cell.source == kept.source and cell.id == kept.id and cell.metadata == kept.metadata
        shown = [(o.get("text"), o.get("data"), o.get("metadata")) for o in cell.get("outputs", [])]
        assert shown == [(o.get("text"), o.get("data"), o.get("metadata")) for o in kept.get("outputs", [])]


def test_cells_behind_the_set_up_cell_count_on_by_one_in_outputs_and_tracebacks_too():
    after = write(executed_notebook())
    assert [cell.get("execution_count") for cell in after.cells] == [None, 1, 2, 3, 4, None]
    assert after.cells[3].outputs[0].execution_count == 3
    first, *others = after.cells[4].outputs[0].traceback
    assert "In[4], line 1" in first and others == ["list[3] is no cell", "Cell In[13]"]
    assert notebooks.flaws(after) == []


@pytest.mark.parametrize("address", [HERE, NOWHERE], ids=["published", "nowhere"])
def test_writing_twice_or_by_way_of_another_address_gives_the_same_bytes(address):
    once = nbformat.writes(write(executed_notebook(), address))
    again = write(executed_notebook(), address)
    for other in (address, HERE, NOWHERE, badges.Address("b/c", "main"), address):
        again = write(again, other)
    assert nbformat.writes(again) == once


def test_a_set_up_cell_in_the_wrong_place_or_changed_by_hand_is_put_right():
    right = write(executed_notebook())
    moved = nbformat.from_dict(right)
    moved.cells.append(moved.cells.pop(1))
    moved.cells[-1].source, moved.cells[-1].metadata = "print('mine')", {}
    assert [(cell.source, cell.metadata) for cell in write(moved).cells] == [
        (cell.source, cell.metadata) for cell in right.cells
    ]


def test_a_notebook_that_was_not_run_is_not_said_to_be():
    notebook = executed_notebook()
    notebook.cells[2].execution_count = None
    assert write(notebook).cells[1].execution_count is None
    assert "not executed" in " ".join(notebooks.flaws(write(notebook)))


def test_a_notebook_without_a_title_is_refused():
    with pytest.raises(badges.AddressError, match=r"07_a_title.*markdown"):
        write(new_notebook(cells=[new_code_cell("1")]))


def test_the_badge_opens_the_published_tag_and_stands_under_the_title():
    title, badge, *rest = write(executed_notebook()).cells[0].source.split("\n\n")
    assert (title, rest) == ("# 07 · A title", ["Its text.", "- and a list"])
    target = badge.rpartition("](")[2].rstrip(")")
    page = "github/ada/base-vs-instruct/blob/v1.2.0/notebooks/07_a_title.ipynb"
    assert target == "https://colab.research.google.com/" + page
    assert badges.COLAB_BADGE.fullmatch(badge)
    assert badges.opened_as(badges.ROOT / "solutions" / "01_x.ipynb") == "exercises/01_x.ipynb"


def test_without_an_address_there_is_no_badge_and_the_set_up_cell_says_why():
    after = write(write(executed_notebook()), NOWHERE)
    assert "Colab" not in after.cells[0].source
    assert "no public address" in after.cells[1].source and "github" not in after.cells[1].source


# -- the README -----------------------------------------------------------------------------------------------

README = """# The course

![A picture](docs/a.png)

```
git clone <this repository> base-vs-instruct
cd base-vs-instruct
```

| | lesson | minutes |
|---|---|---|
| 00 | [Start](notebooks/00_start.ipynb) | 10 |
| 01 | [Next](notebooks/01_next.ipynb), [exercise](exercises/01_next.ipynb) | 35 |

In [lesson 00](notebooks/00_start.ipynb) there is more.
"""


def test_the_readme_gets_badges_in_its_tables_a_binder_badge_and_the_clone_line():
    text = badges.with_address(README, HERE)
    assert "git clone https://github.com/ada/base-vs-instruct base-vs-instruct\n" in text
    opened = [line.count("Open in Colab") for line in text.splitlines() if line.startswith("| 0")]
    assert opened == [1, 2] and text.count("Open in Colab") == 3
    assert (
        text.splitlines()[2].startswith("[![Open in Binder]") and "/gh/ada/base-vs-instruct/v1.2.0?" in text
    )


def test_the_readme_comes_back_as_it_was():
    text = badges.with_address(README, HERE)
    assert badges.with_address(text, HERE) == text
    assert badges.with_address(badges.with_address(text, badges.Address("b/c", "main")), HERE) == text
    assert badges.with_address(text, NOWHERE) == README == badges.with_address(README, NOWHERE)


# -- the address ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "url",
    [
        "https://github.com/ada/x.git",
        "https://github.com/ada/x",
        "https://github.com/ada/x/",
        "https://name:secret@github.com/ada/x.git",
        "git@github.com:ada/x.git",
        "ssh://git@github.com/ada/x.git",
        "ssh://git@github.com:22/ada/x",
    ],
)
def test_every_spelling_of_a_remote_on_github_is_read(url):
    assert badges.repository_of(url) == "ada/x"


@pytest.mark.parametrize(
    "url", ["https://gitlab.com/a/x", "/srv/git/x.git", "git@host:a/x.git", "https://notgithub.com/a/x"]
)
def test_a_remote_elsewhere_is_no_address(url):
    assert badges.repository_of(url) is None


@pytest.mark.parametrize("repo", ["x", "a/b/c", "a b/c", "a/b;rm", "a/b?c", "../x", "a/..", "a/b\n"])
def test_what_is_no_repository_is_refused(repo):
    with pytest.raises(badges.AddressError, match="OWNER/NAME"):
        badges.Address(repo, "v1")


@pytest.mark.parametrize("tag", ["", "-q", "v 1", "v1;x"])
def test_what_is_no_tag_is_refused(tag):
    with pytest.raises(badges.AddressError, match="tag"):
        badges.Address("a/b", tag)


@pytest.fixture
def setting(tmp_path, monkeypatch):
    """tools/address.json in a folder of its own, set to nowhere."""
    path = tmp_path / "address.json"
    monkeypatch.setattr(badges, "SETTING", path)

    def put(repository: str) -> None:
        path.write_text(json.dumps({"repository": repository, "tag": "v0"}))

    put("")
    return put


def test_the_command_line_wins_then_gits_remote_then_what_was_set_before(setting):
    on_github, elsewhere = "git@github.com:bo/course.git", "https://gitlab.com/bo/course"
    setting("old/one")
    for repo, url, wanted in [
        ("ada/x", on_github, "ada/x"),
        ("https://github.com/ada/x", None, "ada/x"),
        (None, on_github, "bo/course"),
        (None, elsewhere, "old/one"),
        (None, None, "old/one"),
        ("", on_github, ""),
    ]:
        assert badges.chosen_address(repo, None, url)[0] == badges.Address(wanted, badges.version_tag())


def test_without_remote_and_setting_the_message_says_what_is_missing_and_what_to_do(setting):
    for url, why in [(None, "no git remote"), ("https://gitlab.com/a/b", "not on GitHub")]:
        address, said = badges.chosen_address(None, None, url)
        assert address.repository == "" and why in said and "badges --repo OWNER/NAME" in said


def test_the_command_writes_checks_and_refuses(setting, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(badges, "ROOT", tmp_path)
    (tmp_path / "course_utils").mkdir()
    (tmp_path / "course_utils" / "__init__.py").write_text('"""Helpers."""\n\n__version__ = "3.0"\n')
    (tmp_path / "README.md").write_text(README)
    (tmp_path / "notebooks").mkdir()
    notebooks.write(executed_notebook(), tmp_path / "notebooks" / "07_a_title.ipynb")
    monkeypatch.setattr(badges, "remote", lambda: None)
    assert badges.main(["--check"]) == 1 and "07_a_title" in capsys.readouterr().out
    assert badges.main(["--repo=ada/x"]) == 0 and "ada/x, tag v3.0" in capsys.readouterr().out
    first = (tmp_path / "notebooks" / "07_a_title.ipynb").read_bytes()
    assert b"/ada/x/blob/v3.0/notebooks/07_a_title.ipynb" in first
    assert badges.main([]) == badges.main(["--check"]) == 0
    assert (tmp_path / "notebooks" / "07_a_title.ipynb").read_bytes() == first
    assert badges.main(["--repo=not a repository"]) == 2 and "OWNER/NAME" in capsys.readouterr().err
    assert badges.main(["--repo="]) == 0 and (tmp_path / "README.md").read_text() == README


# -- the set-up cell ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("address", [HERE, NOWHERE], ids=["published", "nowhere"])
def test_outside_colab_the_cell_does_nothing(address, tmp_path):
    code = f"import os, sys, subprocess\nbefore = (os.getcwd(), list(sys.path))\n{address.setup()}\n"
    code += "assert before == (os.getcwd(), sys.path)\nsubprocess.run = None\n"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("address", [HERE, NOWHERE], ids=["published", "nowhere"])
def test_the_cell_installs_nothing(address):
    tree = ast.parse(address.setup())
    imported = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    assert imported == {"os", "subprocess", "sys"} and "pip" not in address.setup()


@pytest.fixture
def colab(tmp_path):
    """Run code as on Colab, in an empty content/ folder; git finds the published course in a folder of this machine."""
    published, content = tmp_path / "published", tmp_path / "content"
    content.mkdir()
    for name in ("course_utils/__init__.py", "notebooks/00_start_here.ipynb"):
        (published / name).parent.mkdir(parents=True)
        (published / name).write_text("")
    who = ["-c", "user.name=x", "-c", "user.email=x@example.org"]
    for step in (["init", "-q"], ["add", "."], [*who, "commit", "-qm", "one"], ["tag", HERE.tag]):
        subprocess.run(["git", *step], cwd=published, check=True)
    env = dict(os.environ, GIT_CONFIG_COUNT="1", GIT_CONFIG_VALUE_0=HERE.url)
    env["GIT_CONFIG_KEY_0"] = f"url.{published.as_uri()}.insteadOf"

    def run(code: str) -> subprocess.CompletedProcess:
        code = (
            "import os, sys, types\nsys.modules['google.colab'] = types.ModuleType('google.colab')\n" + code
        )
        return subprocess.run(
            [sys.executable, "-c", code], cwd=content, env=env, capture_output=True, text=True, check=False
        )

    return run


def test_on_colab_the_cell_fetches_the_tag_and_running_it_again_changes_nothing(colab):
    code = f"{HERE.setup()}\nplace, path = os.getcwd(), list(sys.path)\n{HERE.setup()}\n"
    code += "assert (place, path) == (os.getcwd(), sys.path)\nos.chdir('../..')\n"
    code += f"{HERE.setup()}\nprint(os.getcwd().split(os.sep)[-3:], sys.path[0].split(os.sep)[-2:])"
    for _ in range(2):  # the second time as after "restart session": the files are there, the path is not
        done = colab(code)
        assert done.returncode == 0, done.stderr
        where = f"['content', '{badges.FOLDER}', 'notebooks'] ['content', '{badges.FOLDER}']"
        assert done.stdout.strip() == where and done.stderr == ""


def test_on_colab_a_tag_that_does_not_exist_is_named(colab):
    done = colab(badges.Address(HERE.repository, "v9.9.9").setup())
    assert done.returncode != 0 and "v9.9.9" in done.stderr and "not found" in done.stderr


def test_on_colab_a_copy_without_an_address_says_what_to_do(colab):
    done = colab(NOWHERE.setup())
    assert (
        "RuntimeError" in done.stderr
        and f"upload its folder to Colab's files as '{badges.FOLDER}'" in done.stderr
    )


# -- course.py ------------------------------------------------------------------------------------------------


def test_course_py_hands_the_options_on(monkeypatch):
    handed = []
    monkeypatch.setattr(course, "ensure_environment", lambda level: Path("python"))
    monkeypatch.setattr(course, "hand_over", lambda command, env, folder: handed.append(command) or 0)
    assert course.main(["badges", "--repo", "ada/x", "--tag=v2", "--check", "README.md"]) == 0
    assert course.main(["badges", "--repo="]) == 0
    (script, *options), (_, empty) = [command[1:] for command in handed]
    assert script == str(badges.ROOT / "tools" / "badges.py") and empty == "--repo="
    assert options == ["--repo", "ada/x", "--tag=v2", "--check", "README.md"]
