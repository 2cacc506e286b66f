"""What the playground promises, measured: `python benchmarks/playground.py`.

The exported page in Chromium, from a server of this machine, beside the Python helper in the same run: tokens per second
of one model, and milliseconds to the first bars of both. Each page is opened several times, and the median counts. Ratios
carry over from one computer to another; seconds less so.

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
REPEATS = 5
NEW_TOKENS = 100
TOKENS_PER_SECOND, FIRST_BARS_MS, FIRST_PAIR_MB = 30, 100, 12

WRITE = """async ([side, count]) => {
  const prompt = tokensNow().map((token) => token.id), ids = [];
  const started = performance.now();
  while (ids.length < count) ids.push(likeliest(await places[side].logits([...prompt, ...ids])));
  return 1000 * count / (performance.now() - started);
}"""
FIRST_BARS = """() => {
  const [bars, loaded] = ["bars shown", "models loaded"].map((name) => performance.getEntriesByName(name)[0].startTime);
  return bars - loaded;
}"""


def in_the_browser(folder: Path, browser: str) -> tuple[float, float]:
    """(tokens per second, milliseconds from loaded models to the first bars) of the exported page."""
    from playwright.sync_api import sync_playwright

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(
        ("127.0.0.1", 0), functools.partial(Quiet, directory=str(folder))
    )
    threading.Thread(target=server.serve_forever, daemon=True).start()
    speeds, firsts = [], []
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=browser, args=["--no-sandbox", "--disable-gpu"])
        for _ in range(REPEATS):
            page = chromium.new_page()
            page.goto(f"http://127.0.0.1:{server.server_port}/{playground.PAGE}")
            page.locator("#bars").wait_for(timeout=120_000)
            firsts.append(page.evaluate(FIRST_BARS))
            speeds.append(page.evaluate(WRITE, ["right", NEW_TOKENS]))
            page.close()
        chromium.close()
    server.shutdown()
    return statistics.median(speeds), statistics.median(firsts)


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


def main() -> int:
    """Measure and print; see the module's text for the exit code."""
    browser = next(
        (p for n in ("chromium", "chromium-browser", "google-chrome") if (p := shutil.which(n))), None
    )
    if browser is None:
        print("No chromium or google-chrome on the PATH, so nothing can be measured here.", file=sys.stderr)
        return 2
    with tempfile.TemporaryDirectory() as folder:
        sizes = playground.export(Path(folder), rungs=playground.PAIR)
        megabytes = (sum(sizes.values()) + Path(folder, playground.PAGE).stat().st_size) / 1e6
        speed, first = in_the_browser(Path(folder), browser)
    helper_speed, helper_first = in_python()
    print(f"{'':<34} {'page':>8} {'budget':>10} {'helper':>8} {'page / helper':>14}")
    print(
        f"{'tokens per second':<34} {speed:8.0f} {f'≥ {TOKENS_PER_SECOND}':>10} {helper_speed:8.0f} {speed / helper_speed:14.2f}"
    )
    print(
        f"{'ms from loaded to the first bars':<34} {first:8.0f} {f'≤ {FIRST_BARS_MS}':>10} {helper_first:8.1f} {first / helper_first:14.2f}"
    )
    print(f"{'MB for the first pair':<34} {megabytes:8.2f} {f'≤ {FIRST_PAIR_MB}':>10}")
    kept = speed >= TOKENS_PER_SECOND and first <= FIRST_BARS_MS and megabytes <= FIRST_PAIR_MB
    return 0 if kept else 1


if __name__ == "__main__":
    sys.exit(main())
