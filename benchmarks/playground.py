"""What the playground promises, measured: `python benchmarks/playground.py`.

The exported page in Chromium, from a server of this machine, beside the Python helper in the same run: tokens per
second of one model, milliseconds until the bars of both are there, for the prompt that the page opens with and for
another one that is typed then, and from opening the page to its bars. Each page is opened several times, and the median
counts.
Ratios carry over from one computer to another; seconds less so, and the two models want a core each: beside other work
all of this takes longer.

Exit code 0 when every budget is kept, 1 when one is exceeded, 2 where there is no browser.
"""

from __future__ import annotations

import functools
import http.server
import shutil
import statistics
import sys
import tempfile
import threading
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from tools import playground

PROMPT = "What is the capital of France?"
ANOTHER = "Name the largest city of Kenya."
REPEATS = 5
NEW_TOKENS = 100
TOKENS_PER_SECOND, BARS_MS, FIRST_PAIR_MB = 30, 100, 12

WRITE = """async ([side, count]) => {
  const prompt = tokensNow().map((token) => token.id), ids = [];
  const started = performance.now();
  while (ids.length < count) ids.push(likeliest(await places[side].logits([...prompt, ...ids])));
  return 1000 * count / (performance.now() - started);
}"""
FIRST_BARS = """() => {
  const [bars, loaded] = ["bars shown", "models loaded"].map((name) => performance.getEntriesByName(name)[0].startTime);
  return [bars - loaded, bars];
}"""
BARS_AGAIN = """(user) => new Promise((resolve) => {
  new PerformanceObserver(() => resolve(performance.now() - started)).observe({ entryTypes: ["mark"] });
  const started = performance.now();
  change({ user });
})"""


def in_the_browser(folder: Path, browser: str) -> tuple[float, float, float, float]:
    """What the exported page takes: (tokens per second, then milliseconds: from loaded models to the first bars, from
    another prompt to its bars, from opening the page to the first bars)."""
    from playwright.sync_api import sync_playwright

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(
        ("127.0.0.1", 0), functools.partial(Quiet, directory=str(folder))
    )
    threading.Thread(target=server.serve_forever, daemon=True).start()
    found = []
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=browser, args=["--no-sandbox", "--disable-gpu"])
        for _ in range(REPEATS):
            page = chromium.new_page()
            page.goto(
                f"http://127.0.0.1:{server.server_port}/{playground.PAGE}#seed=1"
            )  # a link: nothing is written by itself
            page.locator("#bars").wait_for(timeout=120_000)
            first, opened = page.evaluate(FIRST_BARS)
            again = page.evaluate(BARS_AGAIN, ANOTHER)
            found.append((page.evaluate(WRITE, ["right", NEW_TOKENS]), first, again, opened))
            page.close()
        chromium.close()
    server.shutdown()
    return tuple(statistics.median(values) for values in zip(*found, strict=True))


def in_python() -> tuple[float, float]:
    """(tokens per second, milliseconds of both models' distributions) of the helper, on one torch thread."""
    import torch

    from course_utils import load_pair

    torch.set_num_threads(1)
    pair = load_pair("pebble")
    ids = pair.instruct.encode([{"role": "user", "content": PROMPT}])
    speeds, firsts = [], []
    for _ in range(REPEATS):
        started = time.perf_counter()
        for variant in pair:
            variant.next_token_probs(ids)
        firsts.append(1000 * (time.perf_counter() - started))
        written, started = 0, time.perf_counter()
        while written < NEW_TOKENS:
            written += len(pair.instruct.complete(ids, NEW_TOKENS).token_ids)
        speeds.append(written / (time.perf_counter() - started))
    return statistics.median(speeds), statistics.median(firsts)


def table() -> list[tuple[str, float, float | None, float | None]]:
    """What was measured: (what, on the page, budget, by the helper); a budget of tokens per second is a least.

    Raises RuntimeError where there is no browser.
    """
    browser = next(
        (p for n in ("chromium", "chromium-browser", "google-chrome") if (p := shutil.which(n))), None
    )
    if browser is None:
        raise RuntimeError("No chromium or google-chrome on the PATH, so nothing can be measured here.")
    with tempfile.TemporaryDirectory() as folder:
        sizes = playground.export(Path(folder), rungs=playground.PAIR)
        megabytes = (sum(sizes.values()) + Path(folder, playground.PAGE).stat().st_size) / 1e6
        speed, first, again, opened = in_the_browser(Path(folder), browser)
    helper_speed, helper_first = in_python()
    return [
        ("tokens per second", speed, TOKENS_PER_SECOND, helper_speed),
        ("ms from loaded models to the first bars", first, BARS_MS, helper_first),
        ("ms from another prompt to its bars", again, None, helper_first),
        ("ms from opening the page to the first bars", opened, None, None),
        ("MB for the first pair", megabytes, FIRST_PAIR_MB, None),
    ]


def kept(what: str, measured: float, budget: float | None) -> bool:
    """Whether a row of the table keeps its budget."""
    if budget is None:
        return True
    return measured >= budget if "per second" in what else measured <= budget


def as_markdown(rows: list) -> str:
    """The rows of `table` as a Markdown table."""
    lines = ["| playground | page | budget | | helper | page / helper |", "|---|---|---|---|---|---|"]
    for what, measured, budget, helper in rows:
        sign = "≥" if "per second" in what else "≤"
        verdict = "" if budget is None else "pass" if kept(what, measured, budget) else "OVER"
        beside = f"{helper:.3g} | {measured / helper:.2f}" if helper else " | "
        lines.append(
            f"| {what} | {measured:.3g} | {f'{sign} {budget}' if budget else ''} | {verdict} | {beside} |"
        )
    return "\n".join(lines)


def main() -> int:
    """Measure and print; see the module's text for the exit code."""
    try:
        rows = table()
    except RuntimeError as error:
        print(error, file=sys.stderr)
        return 2
    print(as_markdown(rows))
    return 0 if all(kept(*row[:3]) for row in rows) else 1


if __name__ == "__main__":
    sys.exit(main())
