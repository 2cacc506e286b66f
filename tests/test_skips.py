"""A skip says what would run the test, and the last lines of a run count what was missing."""

import ast
from pathlib import Path

import pytest
from conftest import wanted

pytest_plugins = "pytester"
TESTS = Path(__file__).parent


def reasons(path: Path):
    """The reasons for skips in a test module: the texts given, or what pytest says of a missing package."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        name = ast.unparse(node.func) if isinstance(node, ast.Call) else ""
        if name in ("pytest.skip", "pytest.mark.skipif", "pytest.importorskip"):
            given = [keyword.value for keyword in node.keywords if keyword.arg == "reason"]
            given = given or ([node.args[0]] if node.args else [])
            yield from (ast.unparse(value) for value in given if not isinstance(value, ast.Name))


@pytest.mark.parametrize("path", sorted(TESTS.glob("*.py")), ids=lambda path: path.stem)
def test_every_reason_for_a_skip_is_known_with_what_would_run_the_test(path):
    unknown = [reason for reason in reasons(path) if wanted(reason) is None and path != Path(__file__)]
    assert unknown == [], "add them to WANTED in tests/conftest.py"


def test_the_last_lines_say_how_many_are_skipped_for_want_of_what(pytester):
    pytester.makeconftest(
        (TESTS / "conftest.py")
        .read_text(encoding="utf-8")
        .replace("_HERE = Path(__file__).parent", f"_HERE = Path({str(TESTS)!r})")
    )
    pytester.makepyfile(
        "import pytest\n"
        "@pytest.mark.parametrize('n', range(3))\n"
        "def test_a(n): pytest.skip('no chromium on this machine')\n"
        "def test_b(): pytest.importorskip('nbgrader_that_is_not_there')\n"
        "def test_c(): pytest.skip('the moon is full')\n"
    )
    lines = pytester.runpytest_subprocess("-p", "no:cacheprovider").outlines
    start = next(i for i, line in enumerate(lines) if "skipped for want of" in line)
    end = lines[start:]
    assert any("3  chromium: apt-get install chromium" in line for line in end)
    assert any("1  nbgrader" in line for line in end) and any("1  the moon is full" in line for line in end)
