from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np
import pytest
import skimage.data

from app.vision.imaging.film import Film, FilmError
from app.vision.imaging.shots import Shots
from bench.film import write_film

GREYS = [np.full((96, 128, 3), 8 * index, np.uint8) for index in range(30)]


@pytest.mark.parametrize(
    ("name", "codec"),
    [
        ("a.mp4", "libx264"),
        ("a.webm", "libvpx"),
        ("a.mkv", "libx265"),
        ("a.ts", "mpeg2video"),
        ("a.avi", "mpeg4"),
    ],
)
def test_frames_are_found_by_their_time_in_any_order(tmp_path: Path, name: str, codec: str) -> None:
    path = write_film(tmp_path / name, GREYS, rate=25, codec=codec, options={"g": "7"})
    film = Film(str(path))
    samples = list(film.list_samples(10))
    assert [number for number, _ in samples] == [1, 4, 6, 9, 11, 14, 16, 19, 21, 24, 26, 29]
    for number, time in [*samples, *reversed(samples)]:
        found, pixels = film.frame_at(time)
        assert found == pytest.approx((number - 1) / 25, abs=2e-3)
        assert pixels.mean() == pytest.approx(8 * (number - 1), abs=5)
    with pytest.raises(FilmError, match=r"no picture at 2.0 s"):
        film.frame_at(2)
    assert film.frame_at(0.4)[0] == pytest.approx(0.4, abs=2e-3)


def test_a_film_of_varying_rate_is_sampled_by_time(tmp_path: Path) -> None:
    times = np.cumsum([0, *([0.02] * 10), *([0.5] * 4), *([0.04] * 15)])
    film = Film(str(write_film(tmp_path / "a.mp4", GREYS, times=times.tolist())))
    assert [number for number, _ in film.list_samples(5)] == [1, 11, 12, 13, 14, 15, 20, 25, 30]
    chosen = [time for _, time in film.list_samples(5, 0.6, 1.5)]
    assert chosen == pytest.approx([0.7, 1.2], abs=1e-4)


def test_frames_are_as_a_player_shows_them(tmp_path: Path) -> None:
    """Turned by the metadata, with wide pixels, in 10 bits, and of two fields."""
    picture = np.zeros((96, 128, 3), np.uint8)
    picture[:32, :32] = 255
    one = write_film(
        tmp_path / "a.mkv", [picture] * 3, pixel_format="yuv420p10le", aspect=Fraction(2)
    )
    pixels = Film(str(one)).frame_at(0)[1]
    assert pixels.shape == (96, 256, 3)
    assert pixels[16, 32].min() > 230
    turned = write_film(tmp_path / "a.mp4", [picture] * 3, rotation=-90)
    pixels = Film(str(turned)).frame_at(0)[1]
    assert pixels.shape == (128, 96, 3)
    assert pixels[16, 80].min() > 230
    # The odd lines are of another moment.
    picture[::2] = 200
    fields = {"flags": "+ildct+ilme", "qmin": "1", "qmax": "2"}
    woven = write_film(tmp_path / "b.mpg", [picture] * 3, 25, codec="mpeg2video", options=fields)
    assert Film(str(woven)).frame_at(0)[1][40:, 40:].std() < 10


@pytest.mark.parametrize("content", [b"", b"no film" * 99, b"#EXTM3U\n#EXTINF:1,\nother.mp4\n"])
def test_what_is_no_film_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "a.mp4"
    path.write_bytes(content)
    with pytest.raises(FilmError, match="no film of a kind that can be read here"):
        Film(str(path))


def test_shots_differ_beside_black_bars_and_black_frames_are_one_shot() -> None:
    shots = Shots()
    frames = [skimage.data.astronaut(), skimage.data.coffee()[:, :400], skimage.data.chelsea()]
    upright = [np.zeros((360, 640, 3), np.uint8) for _ in frames]
    for frame, picture in zip(upright, frames, strict=True):
        frame[:, 219:421] = cv2.resize(picture, (202, 360))
    black = np.zeros_like(upright[0])
    told = [shots.begins(frame) for frame in (upright[0], upright[0], *upright[1:], black, black)]
    assert told == [False, False, True, True, False, False]
    assert not shots.begins(upright[-1])
