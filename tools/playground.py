"""The playground, a page in which Pebble runs: `python -m tools.playground [--to _playground] [--single FILE]`.

The page's source is web/. Written here are playground.html, with scripts and style put into it, and for each model
weights/NAME.bin, which a page from a server fetches, and weights/NAME.js with the same in base64, because a page opened
from disk may not fetch. `--single` writes one file with everything in it instead. No weights are committed for this:
after new ones, run it again. Standard library only.
"""

import argparse
import base64
import gzip
import json
import re
import struct
import sys
import urllib.parse
from array import array
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from course_utils.pairs import LADDER, PAIRS, PEBBLE_MODELS
from course_utils.plots import SHIFT_CATEGORIES, variant_style
from tools import badges

ROOT = Path(__file__).resolve().parent.parent
WEB = ROOT / "web"
PAGE = "playground.html"
PAIR = tuple(Path(folder).name for folder in (PAIRS["pebble"].base, PAIRS["pebble"].instruct))
ABOUT = {
    "dpo": "instruct (dpo)",
    "chat": "chat persona",
}  # what the menus call a rung, where its name says too little
# A bfloat16's bits in two bytes: its exponent, and its sign with its fraction. Exponents pack well once they are apart.
EXPONENT = bytes(bits >> 7 & 0xFF for bits in range(2**16))
FRACTION = bytes(bits >> 8 & 0x80 | bits & 0x7F for bits in range(2**16))


def _from_a_byte(byte: int) -> int:
    """The bfloat16 bits of the number that a float8 e4m3 byte stands for; every one of them has some."""
    sign, exponent, fraction = byte >> 7, byte >> 3 & 15, byte & 7
    value = fraction / 8 * 2.0**-6 if exponent == 0 else (1 + fraction / 8) * 2.0 ** (exponent - 7)
    (bits,) = struct.unpack("<I", struct.pack("<f", -value if sign else value))
    return bits >> 16


FROM_A_BYTE = [_from_a_byte(byte) for byte in range(2**8)]


class ExportError(Exception):
    """A model or the page cannot be exported. The message says what was expected and what to do next."""


# --- a model as one file ----------------------------------------------------------------------------------------


def packed(folder: Path) -> bytes:
    """A checkpoint's folder as the file that web/model.js reads (gzip; see `readModelFile` there for the layout).

    Raises ExportError for weights that are neither bfloat16 nor float8 (e4m3): they could not be packed without loss.
    """
    if not (folder / "model.safetensors").is_file():
        raise ExportError(
            f"{folder} holds no model.safetensors.\nNext: name the folder of the models with --models."
        )
    tensors, numbers = read_safetensors(folder / "model.safetensors")
    generation = _json(folder / "generation_config.json")
    config = _json(folder / "config.json")
    ends = generation.get("eos_token_id", config.get("eos_token_id"))
    header = {
        "name": folder.name,
        "config": config,
        "end_ids": ends if isinstance(ends, list) else [ends],
        "tokenizer": _json(folder / "tokenizer.json"),
        "count": len(numbers),
        "tensors": tensors,
    }
    text = json.dumps(header, ensure_ascii=False, separators=(",", ":")).encode()
    exponents = bytes(map(EXPONENT.__getitem__, numbers))
    fractions = bytes(map(FRACTION.__getitem__, numbers))
    return gzip.compress(
        struct.pack("<I", len(text)) + text + exponents + fractions, compresslevel=6, mtime=0
    )


def read_safetensors(path: Path) -> tuple[list[dict], array]:
    """The tensors of a safetensors file in their order ({name, start, length}), and all numbers as 16 bits each."""
    data = path.read_bytes()
    (size,) = struct.unpack_from("<Q", data)
    listed = {name: entry for name, entry in json.loads(data[8 : 8 + size]).items() if name != "__metadata__"}
    other = {entry["dtype"] for entry in listed.values()} - {"BF16", "F8_E4M3"}
    if other:
        raise ExportError(
            f"{path} holds weights of type {', '.join(sorted(other))}; the playground packs BF16 and F8_E4M3."
        )
    tensors, numbers = [], array("H")
    for name, entry in sorted(listed.items(), key=lambda item: item[1]["data_offsets"]):
        start, end = (8 + size + offset for offset in entry["data_offsets"])
        if entry["dtype"] == "BF16":
            found = array("H", data[start:end])
            if sys.byteorder == "big":
                found.byteswap()
        else:
            found = array("H", map(FROM_A_BYTE.__getitem__, data[start:end]))
        tensors.append({"name": name, "start": len(numbers), "length": len(found)})
        numbers.extend(found)
    return tensors, numbers


def _json(path: Path) -> dict:
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}


# --- the page ---------------------------------------------------------------------------------------------------


def settings(sizes: dict[str, int], lessons: str | None) -> dict:
    """What the page is told: its models (bytes to fetch, the course's colours), the shift map's classes, examples."""
    models = {}
    for name, size in sizes.items():
        rung = name.rsplit("-", 1)[-1]
        style = variant_style(name)
        label = "instruct" if name == PAIR[1] else rung
        about = ABOUT.get(rung, rung)
        models[name] = {
            "label": label,
            "about": about,
            "bytes": size,
            "color": style.color,
            "hatch": style.hatch[:1],
        }
    return {
        "pair": [name for name in PAIR if name in sizes] or list(sizes)[:2],
        "models": models,
        "shift": {name: category._asdict() for name, category in SHIFT_CATEGORIES.items()},
        "examples": examples(lessons),
        "real": real_figures(lessons),
        "home": None if lessons is None else lessons + "index.html",
    }


def examples(lessons: str | None = None) -> list[dict]:
    """web/examples.json, each entry with the place in the lessons that it belongs to: `where` in words, `link` if any.

    `lessons` is the address of the web edition's front page ("" on the site itself, None for a file that stands
    alone: then the link leads to the repository if the course has an address). Raises ExportError for a section that no
    lesson has.
    """
    found = json.loads((WEB / "examples.json").read_text(encoding="utf-8"))
    for example in found:
        number, heading = example.pop("lesson"), example.pop("section")
        file, title = lesson_section(number, heading)
        example["where"] = f"Lesson {number}: {title}"
        address = badges.read_address()
        if lessons is not None:
            example["link"] = f"{lessons}notebooks/{file.stem}.html#{anchor(title)}"
        elif address.repository:
            example["link"] = f"{address.url}/blob/{address.tag}/notebooks/{file.name}"
    return found


REAL = "docs/real_pairs/SmolLM2-135M-Instruct.Q4_1/figures.md"
# What is shown of a real model: how it reads on the page, and the row of REAL that holds it.
REAL_ROWS = {
    "Capitals right, asked in its chat template": "own template | answers",
    "Capitals right, asked in another family's (Llama 3's) template": "llama-3's template | answers",
    "Capitals right, asked in bare text": "bare text | answers",
    "“You are a pirate.” obeyed in the system turn": "a true system turn: a pirate | pirates",
}


def real_figures(lessons: str | None = None) -> dict:
    """What docs/real_pairs/ recorded of a real model, to stand beside Pebble: texts, figures, and where it is recorded.

    Raises ExportError where the file no longer has one of these rows, so that no figure stands here alone.
    """
    text = (ROOT / REAL).read_text(encoding="utf-8")

    def recorded(row: str) -> tuple[str, str]:
        found = re.search(rf"^\| {re.escape(row)} \| ([^|]+?) \| ([^|]+?) \|", text, re.M)
        if not found:
            raise ExportError(f'{REAL} has no row "{row}".\nNext: mend REAL_ROWS in tools/playground.py.')
        return found[1], found[2]

    figures = [{"what": what, "figure": ", ".join(recorded(row))} for what, row in REAL_ROWS.items()]
    date = re.search(r"^Recorded (\S+)", text, re.M)
    empty, _ = recorded("bare text | empty")
    told = {
        "text": "SmolLM2-135M-Instruct is 35 times as large as Pebble. In its own template it answers, too, "
        "though often wrongly; in bare text it ends at once, and an order in the system turn is lost on it.",
        "figures": figures,
        "how": f"Greedy, from a 4-bit file, {date[1] if date else 'undated'}; with 95% intervals. "
        f"{empty} bare texts were empty.",
        "source": REAL,
    }
    address = badges.read_address()
    if lessons is not None:
        told["link"] = f"{lessons}docs/real_pairs.html"
    elif address.repository:
        told["link"] = f"{address.url}/blob/{address.tag}/{REAL}"
    return told


def query(state: dict) -> str:
    """The part of an address that holds a state of the page, such as an example's."""
    plain = {"chat": False, "user": ""} | state  # the page starts as a chat with a question in it
    return urllib.parse.urlencode(
        {name: int(value) if isinstance(value, bool) else value for name, value in plain.items()}
    )


def lesson_section(number: str, heading: str) -> tuple[Path, str]:
    """The notebook of lesson `number` ("02"), and its heading that holds the words `heading`, whole."""
    for file in sorted((ROOT / "notebooks").glob(f"{number}_*.ipynb")):
        for cell in _json(file)["cells"]:
            text = "".join(cell["source"]) if cell["cell_type"] == "markdown" else ""
            for title in re.findall(r"^#+ (.+)$", text, re.M):
                if heading.lower() in title.lower():
                    return file, re.sub(r"[*`]", "", title).strip()
    raise ExportError(
        f'No lesson {number} has a heading with the words "{heading}".\n'
        "Next: mend web/examples.json, which links to it."
    )


def anchor(title: str) -> str:
    """The place of a heading on its page, as Sphinx names it (docutils' `make_id`, for ASCII)."""
    return re.sub(r"[^a-z0-9]+", "-", title.lower()).strip("-0123456789")


def page(told: dict, weights: dict[str, bytes] | None = None) -> str:
    """playground.html with its style, its scripts, `told` (see `settings`) and, if given, the weights put into it."""

    def script(found: re.Match) -> str:
        return f"<script{found[2]}>\n{_safe((WEB / found[1]).read_text(encoding='utf-8'), found[1])}</script>"

    def style(found: re.Match) -> str:
        return f"<style>\n{(WEB / found[1]).read_text(encoding='utf-8')}</style>"

    text = (WEB / PAGE).read_text(encoding="utf-8")
    text = re.sub(r'<link rel="stylesheet" href="([\w.]+)">', style, text)
    text = re.sub(r'<script src="([\w.]+)"([^>]*)></script>', script, text)
    data = json.dumps(told, ensure_ascii=False).replace("</", "<\\/")
    inline = "".join(
        f'<script type="text/plain" id="weights-{name}">{base64.b64encode(held).decode()}</script>\n'
        for name, held in (weights or {}).items()
    )
    place = '<script type="application/json" id="settings-data">{}</script>'
    if place not in text:
        raise ExportError(f"web/{PAGE} has no place for the settings: {place}")
    return text.replace(place, inline + place.replace("{}", data))


def _safe(script: str, name: str) -> str:
    if "</script" in script or "<!--" in script:
        raise ExportError(
            f"web/{name} holds a mark that would end its script element; write it in two parts."
        )
    return script


# --- the command ------------------------------------------------------------------------------------------------


def export(
    to: Path, models: Path = PEBBLE_MODELS, rungs: Sequence[str] = LADDER, lessons: str | None = None
) -> dict[str, int]:
    """Write the page and the weights into the folder `to`; returns the bytes that each model's file has.

    `rungs` are the folders' names in `models`; `lessons` is where the web edition is (see `examples`).
    """
    (to / "weights").mkdir(parents=True, exist_ok=True)
    sizes = {}
    for name in rungs:
        data = packed(models / name)
        sizes[name] = len(data)
        (to / "weights" / f"{name}.bin").write_bytes(data)
        text = f'receiveWeights("{name}", "{base64.b64encode(data).decode()}");\n'
        (to / "weights" / f"{name}.js").write_text(text, encoding="ascii")
    (to / PAGE).write_text(page(settings(sizes, lessons)), encoding="utf-8")
    return sizes


def export_single(file: Path, models: Path = PEBBLE_MODELS, rungs: Sequence[str] = LADDER) -> dict[str, int]:
    """Write one HTML file with everything in it, to be opened from disk; returns the bytes of each model."""
    weights = {name: packed(models / name) for name in rungs}
    sizes = {name: len(data) for name, data in weights.items()}
    file.write_text(page(settings(sizes, None), weights), encoding="utf-8")
    return sizes


def main(argv: list[str]) -> int:
    """Export the playground. 1: it could not be exported."""
    parser = argparse.ArgumentParser(description="Export the playground, a page in which Pebble runs.")
    parser.add_argument(
        "--to", type=Path, default=ROOT / "_playground", help="the folder (default: _playground)"
    )
    parser.add_argument(
        "--single", type=Path, metavar="FILE", help="write one HTML file with everything in it instead"
    )
    parser.add_argument(
        "--models", type=Path, default=PEBBLE_MODELS, help="the folder that holds the checkpoints"
    )
    parser.add_argument("--rungs", nargs="+", default=list(LADDER), metavar="NAME", help="which of them")
    options = parser.parse_args(argv)
    try:
        if options.single:
            sizes = export_single(options.single, options.models, options.rungs)
        else:
            sizes = export(options.to, options.models, options.rungs)
    except ExportError as error:
        print(error, file=sys.stderr)
        return 1
    for name, size in sizes.items():
        print(f"{name:<16} {size / 1e6:6.2f} MB")
    print(f"Open {options.single or options.to / PAGE}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
