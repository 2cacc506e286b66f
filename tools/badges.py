"""One public address for badges and set-up cells: `python course.py badges [--repo OWNER/NAME] [--tag TAG]`.

tools/address.json holds the address: the repository on GitHub and the tag that learners get. From it come the
Colab badges of README.md and of every notebook, the Binder badge, the `git clone` line of the README, and the
set-up cell that every notebook has. Nothing else in a notebook changes, its results included; running this
again changes nothing. Without an address there are no badges, and the set-up cell says so on Colab.
"""

import argparse
import copy
import json
import re
import subprocess
import sys
from dataclasses import asdict, dataclass
from pathlib import Path

import nbformat

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from tools import exercises, notebooks

ROOT = notebooks.ROOT
SETTING = ROOT / "tools" / "address.json"
SETUP_ID = "colab-setup"
FOLDER = "base-vs-instruct"  # the clone's name, on Colab and in the README

# Nobody has to read the set-up cell: JupyterLab folds its source, and Colab shows the title alone (a "form").
SETUP_METADATA = {"cellView": "form", "jupyter": {"source_hidden": True}}
SETUP = f"""\
#@title On Colab, this cell fetches the course (some seconds). Anywhere else it does nothing.
import os, subprocess, sys

if "google.colab" in sys.modules and not os.path.exists("../course_utils"):
    if not os.path.exists("{FOLDER}"):
        <get>
    sys.path.insert(0, os.path.abspath("{FOLDER}"))
    os.chdir("{FOLDER}/notebooks")"""
CLONE = """\
command = "git clone --quiet --config advice.detachedHead=false --depth 1 --branch {tag}"
        subprocess.run([*command.split(), "{url}", "{folder}"], check=True)"""
NOWHERE = """\
raise RuntimeError("This copy of the course has no public address to be fetched from. Next: upload its "
                           "folder to Colab's files as '{folder}' and run this cell again.")"""

COLAB_BADGE = re.compile(r"\[!\[Open in Colab\]\([^)]*\)\]\([^)]*\)")
BINDER_BADGE = re.compile(r"\[!\[Open in Binder\]\([^)]*\)\]\([^)]*\)")
CLONE_LINE = re.compile(rf"^git clone .*\b{FOLDER}$", re.M)
UNKNOWN = "<this repository>"


class AddressError(ValueError):
    """An address that cannot be used. The message says what is expected."""


@dataclass(frozen=True)
class Address:
    """Where the course is published: `repository` "OWNER/NAME" on GitHub ("" when nowhere), and a tag there."""

    repository: str
    tag: str

    def __post_init__(self) -> None:
        """Raises AddressError for anything that would not be one word in a shell or in an address."""
        if self.repository and not re.fullmatch(r"[\w-][\w.-]*/[\w.-]*[\w-]", self.repository, re.ASCII):
            raise AddressError(
                f"{self.repository!r} is not a GitHub repository; give it as OWNER/NAME, such as ada/{FOLDER}."
            )
        if not re.fullmatch(r"[\w][\w./-]*", self.tag, re.ASCII):
            raise AddressError(f"{self.tag!r} is not a tag; give one such as v0.1.0.")

    @property
    def url(self) -> str:
        """What git clones; empty when the course is published nowhere."""
        return f"https://github.com/{self.repository}" if self.repository else ""

    def setup(self) -> str:
        """The source of the set-up cell, the same for every notebook."""
        get = CLONE if self.repository else NOWHERE
        return SETUP.replace("<get>", get.format(tag=self.tag, url=self.url, folder=FOLDER))

    def colab(self, path: str) -> str:
        """The badge that opens the notebook at `path` (from the root, with /) in Colab, as markdown."""
        target = f"https://colab.research.google.com/github/{self.repository}/blob/{self.tag}/{path}"
        return f"[![Open in Colab](https://colab.research.google.com/assets/colab-badge.svg)]({target})"

    def binder(self) -> str:
        """The badge that opens the first lesson in Binder, as markdown."""
        page = "urlpath=%2Flab%2Ftree%2Fnotebooks%2F00_start_here.ipynb"
        target = f"https://mybinder.org/v2/gh/{self.repository}/{self.tag}?{page}"
        return f"[![Open in Binder](https://mybinder.org/badge_logo.svg)]({target})"


# --- the setting ----------------------------------------------------------------------------------------------


def read_address() -> Address:
    """The address in tools/address.json. Raises AddressError when the file holds none."""
    try:
        return Address(**json.loads(SETTING.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError) as error:
        raise AddressError(
            f"tools/address.json holds no address ({error}); git checkout tools/address.json."
        ) from error


def version_tag() -> str:
    """The tag of the version in course_utils/__init__.py, such as v0.1.0."""
    source = (ROOT / "course_utils" / "__init__.py").read_text(encoding="utf-8")
    return "v" + re.search(r'^__version__ = "([^"]+)"', source, re.M)[1]


def remote() -> str | None:
    """The url of git's remote "origin", or of the only remote; None without git, remotes or a choice."""
    try:
        names = git("remote").split()
        name = "origin" if "origin" in names else names[0] if len(names) == 1 else None
        return git("remote", "get-url", name).strip() if name else None
    except (OSError, subprocess.SubprocessError):
        return None


def git(*arguments: str) -> str:
    """What git prints in the course's folder."""
    done = subprocess.run(
        ["git", *arguments],
        cwd=ROOT,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        check=True,
    )
    return done.stdout


def repository_of(url: str) -> str | None:
    """OWNER/NAME of a GitHub url in any of git's spellings; None for another host."""
    found = re.fullmatch(
        r"(?:(?:https?|ssh|git)://(?:[^@/]+@)?(?:www\.)?github\.com(?::\d+)?/|(?:[^@/]+@)?github\.com:)"
        r"([^/]+/[^/]+?)(?:\.git)?/?",
        url.strip(),
    )
    return found[1] if found else None


def chosen_address(repo: str | None, tag: str | None, url: str | None) -> tuple[Address, str]:
    """The address to write and a sentence that says where it comes from.

    `repo` and `tag` are what the command line gave, `url` is git's remote; each may be None. Without any of them
    the address set before stays.
    """
    before = read_address()
    tag = tag or version_tag()
    if repo is not None:
        repository = repository_of(repo) or repo.strip().strip("/")
        return Address(repository, tag), "as given." if repository else "taken out, as asked."
    if url and repository_of(url):
        return Address(repository_of(url), tag), f"from git's remote {url}."
    why = f"git's remote {url} is not on GitHub" if url else "this copy of the course has no git remote"
    if before.repository:
        return Address(before.repository, tag), f"as set before ({why})."
    return Address("", tag), (
        f"none: {why}. So no badges are written, and the set-up cell says on Colab that it cannot fetch the course.\n"
        "Next: once the course is published on GitHub, python course.py badges --repo OWNER/NAME"
    )


# --- what the address is written into -------------------------------------------------------------------------


def with_setup(notebook: nbformat.NotebookNode, path: str, address: Address) -> nbformat.NotebookNode:
    """A copy of the notebook with the badge under its title and the set-up cell behind its first cell.

    `path` is where learners open it, from the root. A notebook that was executed stays executed: the set-up cell
    prints nothing here, so it gets the number 1, and all others count on by one.
    """
    notebook = copy.deepcopy(notebook)
    if not notebook.cells or notebook.cells[0].cell_type != "markdown":
        raise AddressError(
            f"{path} does not begin with a markdown cell, so there is no title to put a badge under."
        )
    first = notebook.cells[0]
    first.source = with_badge(first.source, address.colab(path) if address.repository else "")
    if [i for i, cell in enumerate(notebook.cells) if cell.get("id") == SETUP_ID] != [1]:
        executed = runs_in_order(notebook.cells)
        notebook.cells = [cell for cell in notebook.cells if cell.get("id") != SETUP_ID]
        notebook.cells.insert(1, nbformat.v4.new_code_cell(id=SETUP_ID, source=address.setup()))
        if executed:
            renumber(notebook.cells)
    notebook.cells[1].source = address.setup()
    notebook.cells[1].metadata = nbformat.from_dict(SETUP_METADATA)
    return notebook


def runs_in_order(cells: list) -> bool:
    """Whether the code cells carry the numbers of one run from top to bottom."""
    counts = [cell.execution_count for cell in cells if cell.cell_type == "code" and cell.source.strip()]
    return bool(counts) and counts == list(range(1, len(counts) + 1))


def with_badge(title: str, badge: str) -> str:
    """A title cell's text with `badge` in a paragraph of its own under the heading; none when `badge` is empty."""
    lines = re.sub(r"\n{3,}", "\n\n", COLAB_BADGE.sub("", title)).strip("\n").split("\n")
    return "\n".join([lines[0], *(["", badge] if badge else []), *lines[1:]])


def renumber(cells: list) -> None:
    """Count the code cells from 1, also where an output or a traceback names its cell's number."""
    number = 0
    for cell in cells:
        if cell.cell_type != "code" or not cell.source.strip():
            continue
        number += 1
        named = re.compile(rf"(In ?(?:\x1b\[[\d;]*m)*\[){cell.execution_count}\]")
        for output in cell.outputs:
            if output.output_type == "execute_result":
                output.execution_count = number
            elif output.output_type == "error":
                output.traceback = [named.sub(rf"\g<1>{number}]", line) for line in output.traceback]
        cell.execution_count = number


def with_address(readme: str, address: Address) -> str:
    """The README's text with the address: the badges under its title and in its tables, and the clone line."""
    readme = re.sub(rf"[ \t]*(?:{COLAB_BADGE.pattern})", "", readme)
    readme = re.sub(rf"(?m)^(?:{BINDER_BADGE.pattern})\n\n?", "", readme)
    readme = CLONE_LINE.sub(lambda _: f"git clone {address.url or UNKNOWN} {FOLDER}", readme)
    if not address.repository:
        return readme
    lines = []
    for line in readme.split("\n"):
        if line.startswith("|"):
            line = re.sub(
                r"\]\(((?:notebooks|exercises)/\d\d_[^)\s]+\.ipynb)\)",
                lambda found: f"{found[0]} {address.colab(found[1])}",
                line,
            )
        lines.append(line)
    return re.sub(
        r"\A(# .*\n\n?)", lambda found: f"{found[1]}{address.binder()}\n\n", "\n".join(lines), count=1
    )


def opened_as(path: Path) -> str:
    """The notebook that learners open when this one is published: of a solution, its exercise."""
    folder = "exercises" if path.parent.name == "solutions" else path.parent.name
    return f"{folder}/{path.name}"


def sources() -> list[Path]:
    """The lessons and the solutions; exercises are made from solutions."""
    return [
        p for folder in ("notebooks", "solutions") for p in sorted((ROOT / folder).glob("[0-9][0-9]_*.ipynb"))
    ]


def wanted(path: Path, address: Address) -> str:
    """The text that the file at `path`, the README or a notebook, has with this address."""
    if path.suffix != ".ipynb":
        return with_address(path.read_text(encoding="utf-8"), address)
    notebook = with_setup(notebooks.read(path), opened_as(path), address)
    nbformat.validate(notebook)
    return nbformat.writes(notebook).rstrip("\n") + "\n"


def differing(address: Address, paths: list[Path] | None = None) -> list[Path]:
    """Which of the files (default: the README and all notebooks) are not as this address asks."""
    chosen = [ROOT / "README.md", *sources()] if paths is None else paths
    return [path for path in chosen if path.read_text(encoding="utf-8") != wanted(path, address)]


# --- the command ----------------------------------------------------------------------------------------------


def write(address: Address, paths: list[Path] | None) -> list[Path]:
    """Write the address into the setting and into the files that differ; returns those files."""
    stale = differing(address, paths)
    for path in stale:
        text = wanted(path, address)
        with path.open("w", encoding="utf-8", newline="\n") as file:
            file.write(text)
    with SETTING.open("w", encoding="utf-8", newline="\n") as file:
        file.write(json.dumps(asdict(address), indent=2) + "\n")
    return stale


def main(argv: list[str]) -> int:
    """Write badges and set-up cells, or with --check say where they are missing. 2: an address that is none."""
    parser = argparse.ArgumentParser(description="Write badges and set-up cells from one address.")
    parser.add_argument(
        "files", nargs="*", type=Path, help="only these (default: README.md and every notebook)"
    )
    parser.add_argument("--repo", help="OWNER/NAME on GitHub (default: git's remote); '' for none")
    parser.add_argument(
        "--tag", help="the tag that learners get (default: v and the version of course_utils)"
    )
    parser.add_argument(
        "--check", action="store_true", help="change nothing; fail where the set address is not in"
    )
    options = parser.parse_args(argv)
    paths = [path.resolve() for path in options.files] or None
    try:
        if options.check:
            stale = differing(read_address(), paths)
            for path in stale:
                print(f"{path.relative_to(ROOT).as_posix()}: not as tools/address.json asks")
            print("Next: python course.py badges" if stale else "Badges and set-up cells are as set.")
            return int(bool(stale))
        address, source = chosen_address(options.repo, options.tag, remote())
        print(
            f"Address: {address.repository + ', tag ' + address.tag + ', ' if address.repository else ''}{source}"
        )
        written = write(address, paths)
    except AddressError as error:
        print(error, file=sys.stderr)
        return 2
    for path in written:
        print(f"{path.relative_to(ROOT).as_posix()}: written")
    print(f"{len(written)} files written." if written else "Every file was up to date.")
    return exercises.main([]) if any(path.parent.name == "solutions" for path in written) else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
