"""All measurements in one file: `python benchmarks/report.py [PART ...]` measures, and writes benchmarks/RESULTS.md.

Parts are those of budgets.py (importing, kernel, distribution, batches, streaming, clone, training, lessons),
where_time_goes, growth, real_size and playground; without a name, all are measured, which takes the better part of an
hour. What is not measured this time stays as it was, with its date: results.json keeps it. `--render` measures nothing
and writes page and figure again. Nothing else should run meanwhile.
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import platform
import sys
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

import budgets
import growth
import playground
import real_size
import where_time_goes

ROOT = Path(__file__).resolve().parent.parent
FOLDER = ROOT / "benchmarks"
DATA, PAGE, FIGURE = FOLDER / "results.json", FOLDER / "RESULTS.md", FOLDER / "growth.png"
PACKAGES = ("torch", "transformers", "trl", "jupyterlab")
PARTS = (*budgets.MEASUREMENTS, "where_time_goes", "growth", "real_size", "playground")


def machine() -> str:
    """This computer in one line: processor, cores, memory, system, and the versions that matter."""
    processor = platform.processor() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        names = [
            line.split(":", 1)[1].strip() for line in cpuinfo.read_text().splitlines() if "model name" in line
        ]
        processor = names[0] if names else processor
    memory = ""
    if hasattr(os, "sysconf"):
        memory = f", {os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES') / 2**30:.0f} GiB of memory"
    versions = ", ".join(f"{name} {version(name)}" for name in PACKAGES if find_spec(name))
    python = f"Python {platform.python_version()}"
    return f"{processor}, {os.cpu_count()} cores{memory}; {platform.system()}; {python}, {versions}"


def busy() -> str:
    """How much else ran, in the words of the page; empty on a quiet machine, or where the system does not say."""
    load = os.getloadavg()[1] if hasattr(os, "getloadavg") else 0.0
    return f"load {load:.0f} on {os.cpu_count()} cores" if load > (os.cpu_count() or 1) / 2 else ""


def measure(part: str) -> dict:
    """One part's rows, with the date and the computer. Raises RuntimeError when it could not be measured."""
    where, load = machine(), busy()
    if part == "growth":
        rows = growth.measure()
        growth.plot(rows, FIGURE)
    elif part == "where_time_goes":
        rows = where_time_goes.measure()
    elif part == "real_size":
        rows = real_size.table()
    elif part == "playground":
        rows = playground.table()
    else:
        rows = budgets.in_a_process(part)
    return {
        "date": datetime.date.today().isoformat(),
        "machine": where,
        "note": load,
        "rows": [list(row) for row in rows],
    }


def page(found: dict[str, dict]) -> str:
    """The Markdown page of all that was measured."""
    parts = {part: found[part] for part in PARTS if part in found}
    machines = list(dict.fromkeys(one["machine"] for one in parts.values()))
    lines = [
        "# What was measured",
        "",
        "Made by `python benchmarks/report.py`; the numbers are in `results.json`. Ratios carry over to other "
        "computers,",
        "seconds less so. Models of Pebble's size run on one thread. A ratio is the median of several turns, with",
        "their range; a line measured while much else ran names the load, and its seconds say little.",
        "",
        *(f"- machine {chr(65 + i)}: {name}" for i, name in enumerate(machines)),
        "",
        "## Budgets",
        "",
        "| what | measured | budget | | beside | measured on |",
        "|---|---|---|---|---|---|",
    ]
    for part, one in parts.items():
        if part in budgets.MEASUREMENTS:
            where = ", ".join(
                filter(None, [one["date"], chr(65 + machines.index(one["machine"])), one.get("note")])
            )
            for row in one["rows"]:
                measured, budget, verdict, beside = budgets.cells(budgets.Row(*row))
                lines.append(f"| {row[0]} | {measured} | {budget} | {verdict} | {beside} | {where} |")
    missed = [
        f"- {what}: {why}" for what, why in budgets.MISSED.items() if what in {r[0] for r in rows_of(parts)}
    ]
    unmeasured = [f"- {what}: {why}" for what, why in budgets.UNMEASURED.items()]
    if unmeasured:
        lines += ["", "Promised, and not measured yet:", "", *unmeasured]
    if missed:
        lines += ["", "Over their budgets, and why:", "", *missed]
    if "where_time_goes" in parts:
        one = parts["where_time_goes"]
        lines += [
            "",
            "## Where the time goes",
            "",
            "Each piece of work under torch's profiler, on one thread in float32; "
            f"{', '.join(filter(None, [one['date'], one.get('note')]))}, machine "
            f"{chr(65 + machines.index(one['machine']))}. No training can be faster than its matrix products, which "
            "any way needs.",
            "",
            where_time_goes.table(one["rows"]),
        ]
    if "growth" in parts:
        one = parts["growth"]
        lines += [
            "",
            "## How it grows",
            "",
            f"CPU seconds on one thread, {', '.join(filter(None, [one.get('note'), one['date']]))}, machine "
            f"{chr(65 + machines.index(one['machine']))}. Each helper is measured in turns with what one would use "
            f"instead; {growth.NEW_TOKENS} new tokens per prompt.",
            "",
            "![CPU seconds against the number of parameters, the prompt's length, the prompts and the examples, on "
            "logarithmic axes: the helpers and, dashed, what one would use instead](growth.png)",
            "",
            growth.table([growth.Point(*row) for row in one["rows"]]),
        ]
    if "real_size" in parts:
        one = parts["real_size"]
        lines += [
            "",
            "## At a real model's size",
            "",
            f"SmolLM2-135M's architecture ({real_size.PARAMETERS:,} parameters) with random weights, in float32 on one "
            f"thread; {one['date']}, machine {chr(65 + machines.index(one['machine']))}. The peak is the whole process "
            f"with one variant; the second needs {real_size.PARAMETERS * 4 / 1e6:,.0f} MB more.",
            "",
            "| at 135M parameters | CPU seconds | peak memory | |",
            "|---|---|---|---|",
            *(
                f"| {what} | {seconds:.2f} | {peak:,.0f} MB | {note} |"
                for what, seconds, peak, note in one["rows"]
            ),
        ]
    if "playground" in parts:
        lines += [
            "",
            *playground_lines(parts["playground"], chr(65 + machines.index(parts["playground"]["machine"]))),
        ]
    return "\n".join(lines) + "\n"


def rows_of(parts: dict[str, dict]) -> list[list]:
    """All rows that have a budget."""
    return [row for part, one in parts.items() if part in budgets.MEASUREMENTS for row in one["rows"]]


def playground_lines(one: dict, where: str) -> list[str]:
    """The page's section about the playground."""
    load = f", {one['note']}" if one.get("note") else ""
    return [
        "## The playground",
        "",
        "Pebble in a page of Chromium, two models in a thread each, beside the Python helper on one thread in"
        f" the same run; {one['date']}, machine {where}{load}.",
        "",
        playground.as_markdown(one["rows"]),
    ]


def main(argv: list[str]) -> int:
    """Measure the parts and write the page; 1 when one could not be measured."""
    parser = argparse.ArgumentParser(description="Measure, and write benchmarks/RESULTS.md.")
    parser.add_argument("parts", nargs="*", metavar="PART", help=", ".join(PARTS))
    parser.add_argument("--render", action="store_true", help="write the page again from results.json")
    options = parser.parse_args(argv)
    if unknown := set(options.parts) - set(PARTS):
        parser.error(f"no part is called {', '.join(sorted(unknown))}; parts: {', '.join(PARTS)}")
    found = json.loads(DATA.read_text(encoding="utf-8")) if DATA.exists() else {}
    failed = 0
    for part in () if options.render else options.parts or PARTS:
        print(f"{part} …", flush=True)
        try:
            found[part] = measure(part)
        except RuntimeError as error:
            print(f"{part} was not measured: {error}", file=sys.stderr)
            failed = 1
        DATA.write_text(json.dumps(found, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    if options.render and "growth" in found:
        growth.plot([growth.Point(*row) for row in found["growth"]["rows"]], FIGURE)
    PAGE.write_text(page(found), encoding="utf-8")
    print(f"wrote {PAGE.relative_to(ROOT)}")
    return failed


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
