"""The README's moving picture: `python -m tools.moving_picture [--to GIF] [--preview PNG]`.

A Chromium opens the playground with the models of this checkout, types a question and lets both models write; what it
shows is photographed and becomes an animated GIF, and one photograph the picture that link previews show. Nothing is
drawn by hand: after new weights or a new playground, run it again. Needs a Chromium, playwright (which
requirements-test.txt names) and pillow (which matplotlib brings).
"""

import argparse
import io
import os
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from tools import notebooks, playground

ROOT = notebooks.ROOT
MOVING, PREVIEW = ROOT / "docs" / "playground.gif", ROOT / "docs" / "preview.png"
QUESTION = "What is the capital of France?"
WIDTH, HEIGHT = 960, 640  # CSS pixels of the moving picture; two columns from 900 on
PREVIEW_SIZE = (1200, 630)  # what the sites that show previews ask for
MOST_BYTES = 3_000_000
COLOURS = 64
TYPED_MS, WRITTEN_MS, LOOK_MS, END_MS = 90, 110, 2200, 4500  # how long frames are shown
MARKS = "performance.getEntriesByName('bars shown').length"


class PictureError(Exception):
    """The picture cannot be made. The message says what is missing or what went wrong, and what to do next."""


def chromium() -> str:
    """The path of a Chromium: COURSE_CHROMIUM, or one that is installed. Raises PictureError without one."""
    found = os.environ.get("COURSE_CHROMIUM") or next(
        (path for name in ("chromium", "chromium-browser", "google-chrome") if (path := shutil.which(name))),
        None,
    )
    if not found:
        raise PictureError(
            "There is no Chromium here.\nNext: install one, or name its program in COURSE_CHROMIUM."
        )
    return found


def film(page: Any, address: str) -> list[tuple[bytes, int]]:
    """(PNG, milliseconds) of each frame: a question typed, the bars following it, then both models writing."""
    frames: list[tuple[bytes, int]] = []

    def shoot(milliseconds: int) -> None:
        frames.append((page.screenshot(), milliseconds))

    page.goto(f"{address}?inside&small#chat=1&user=&limit=40")
    page.locator("#bars").wait_for(timeout=300_000)
    page.locator("#user").focus()
    for end in range(1, len(QUESTION) + 1):
        shown = page.evaluate(MARKS)
        page.keyboard.type(QUESTION[end - 1])
        page.wait_for_function(f"{MARKS} > {shown}", timeout=60_000)
        shoot(LOOK_MS if end == len(QUESTION) else TYPED_MS)
    page.evaluate("document.activeElement.blur()")
    shoot(LOOK_MS // 4)
    page.evaluate("document.getElementById('write').click()")
    before = None
    while True:
        state = page.evaluate(
            "[document.getElementById('write').textContent, ...['left', 'right'].map(side => "
            "document.getElementById('written-' + side).textContent)]"
        )
        if state[1:] != before:
            shoot(WRITTEN_MS)
            before = state[1:]
        if state[0] != "Stop":
            break
    page.locator("#map-part").wait_for(timeout=60_000)
    shoot(END_MS)
    return frames


def gif(frames: list[tuple[bytes, int]]) -> bytes:
    """The frames as an animated GIF with one palette, made from all of them."""
    from PIL import Image

    images = [Image.open(io.BytesIO(data)).convert("RGB") for data, _ in frames]
    # One palette for all frames, so that what stands still is the same in each and costs nothing.
    sample = Image.new("RGB", (images[0].width, images[0].height * 3))
    for place, image in enumerate((images[0], images[len(images) // 2], images[-1])):
        sample.paste(image, (0, place * image.height))
    palette = sample.quantize(COLOURS, method=Image.Quantize.MEDIANCUT)
    drawn = [image.quantize(palette=palette, dither=Image.Dither.NONE) for image in images]
    held = io.BytesIO()
    times = [milliseconds for _, milliseconds in frames]
    drawn[0].save(
        held,
        "GIF",
        save_all=True,
        append_images=drawn[1:],
        duration=times,
        loop=0,
        optimize=False,
        disposal=1,
    )
    return held.getvalue()


def take(moving: Path, preview: Path) -> dict[Path, int]:
    """Write both pictures; returns their bytes. Raises PictureError for a moving picture that is too large."""
    try:
        from playwright.sync_api import sync_playwright
    except ImportError as error:
        raise PictureError(
            "The package playwright is missing.\nNext: pip install -r requirements-test.txt"
        ) from error

    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        file = Path(folder, playground.PAGE)
        playground.export_single(file, rungs=playground.PAIR)
        browser = playwright.chromium.launch(
            executable_path=chromium(), args=["--no-sandbox", "--disable-gpu"]
        )
        page = browser.new_page(viewport={"width": WIDTH, "height": HEIGHT}, color_scheme="light")
        frames = film(page, file.as_uri())
        width, height = PREVIEW_SIZE
        page = browser.new_page(viewport={"width": width, "height": height}, color_scheme="light")
        page.goto(file.as_uri())
        page.locator("#bars").wait_for(timeout=300_000)
        page.wait_for_timeout(500)  # the bars grow into place
        still = page.screenshot()
        browser.close()
    data = gif(frames)
    if len(data) > MOST_BYTES:
        raise PictureError(
            f"The moving picture has {len(data):,} bytes, and {MOST_BYTES:,} are allowed.\n"
            "Next: make WIDTH, HEIGHT or COLOURS smaller in tools/moving_picture.py."
        )
    moving.write_bytes(data)
    preview.write_bytes(still)
    return {moving: len(data), preview: len(still)}


def main(argv: list[str]) -> int:
    """Make the pictures. 1: they could not be made."""
    parser = argparse.ArgumentParser(description="Make the README's moving picture from the playground.")
    parser.add_argument("--to", type=Path, default=MOVING, help="the GIF (default: docs/playground.gif)")
    parser.add_argument(
        "--preview",
        type=Path,
        default=PREVIEW,
        help="the still for link previews (default: docs/preview.png)",
    )
    options = parser.parse_args(argv)
    try:
        sizes = take(options.to, options.preview)
    except (PictureError, playground.ExportError) as error:
        print(error, file=sys.stderr)
        return 1
    for path, size in sizes.items():
        print(f"{path}: {size / 1e6:.2f} MB")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
