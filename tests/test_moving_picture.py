"""The README's moving picture is made from the playground, small enough, and the script says what it lacks."""

import pytest
from PIL import Image

from tools import moving_picture


@pytest.mark.slow
@pytest.mark.browser
def test_the_moving_picture_is_made_from_the_playground(tmp_path, monkeypatch):
    pytest.importorskip("playwright.sync_api", reason="the playwright package is not installed")
    try:
        moving_picture.chromium()
    except moving_picture.PictureError:
        pytest.skip("no chromium on this machine")
    monkeypatch.setattr(moving_picture, "QUESTION", "Why?")
    moving, still = tmp_path / "moving.gif", tmp_path / "still.png"
    sizes = moving_picture.take(moving, still)
    assert sizes[moving] == moving.stat().st_size < moving_picture.MOST_BYTES
    with Image.open(moving) as shown, Image.open(still) as preview:
        # A frame for each letter, for what is written, and one to look at; the writing goes on to the end.
        assert shown.n_frames > len("Why?") + 2
        assert preview.size == moving_picture.PREVIEW_SIZE


def test_frames_become_one_gif_with_their_own_times(tmp_path):
    frames = []
    for colour in ("white", "black", "red"):
        path = tmp_path / f"{colour}.png"
        Image.new("RGB", (20, 10), colour).save(path)
        frames.append((path.read_bytes(), 100 * (len(frames) + 1)))
    path = tmp_path / "all.gif"
    path.write_bytes(moving_picture.gif(frames))
    with Image.open(path) as shown:
        found = []
        for number in range(shown.n_frames):
            shown.seek(number)
            found.append((shown.convert("RGB").getpixel((5, 5)), shown.info["duration"]))
    assert found == [((255, 255, 255), 100), ((0, 0, 0), 200), ((255, 0, 0), 300)]


def test_without_a_chromium_the_script_says_so(monkeypatch, capsys, tmp_path):
    monkeypatch.delenv("COURSE_CHROMIUM", raising=False)
    monkeypatch.setattr(moving_picture.shutil, "which", lambda name: None)
    with pytest.raises(moving_picture.PictureError, match="COURSE_CHROMIUM"):
        moving_picture.chromium()
