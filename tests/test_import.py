"""`import course_utils` is cheap, and hands on what the lessons use."""

import subprocess
import sys

import pytest

import course_utils


def fresh_python(code: str) -> str:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_importing_the_package_loads_no_heavy_library():
    heavy = ("torch", "transformers", "matplotlib", "pandas", "ipywidgets", "numpy")
    loaded = fresh_python(f"import sys, course_utils; print([m for m in {heavy} if m in sys.modules])")
    assert loaded == "[]"


def test_the_table_of_pairs_is_there_without_torch():
    assert (
        fresh_python("import sys; from course_utils import PAIRS, load_pair; print('torch' in sys.modules)")
        == "False"
    )


def test_every_public_name_is_listed_by_dir_and_belongs_to_a_module():
    assert set(course_utils.__all__) <= set(dir(course_utils))
    assert course_utils.VARIANTS == ("base", "instruct")
    for name in (
        "load_pair",
        "load_variant",
        "Variant",
        "Completion",
        "query_base_as_instruct",
        "token_shift",
        "PAIRS",
    ):
        assert getattr(course_utils, name) is not None


def test_an_unknown_name_says_what_there_is():
    with pytest.raises(AttributeError, match="load_pair"):
        course_utils.load_par  # noqa: B018
