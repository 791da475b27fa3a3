"""List a film's frames by their presentation times, and decode them into upright RGB pixels."""

import math
from array import array
from collections.abc import Iterator
from contextlib import suppress
from typing import IO

import av
import av.error
import cv2
import numpy as np
from av.container import InputContainer
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from app.errors import RautError

# Other demuxers read lists of further files, which a film doesn't need.
CONTAINERS = "mov,mp4,matroska,webm,avi,mpeg,mpegts,mpegvideo,asf,flv,ogg,mxf"
DECODER_THREADS = 2
# Film times are sums of rounded ticks of the file's clock.
ROUNDING = 2e-6
# The next frame further ahead than this is sought, since decoding up to it would take longer.
SEEK_SECONDS = 10.0
# A film that ends this long before it says has broken off; not all files time the last frame.
BREAK_SECONDS = 2.0


class FilmError(RautError):
    """Say why a film, or the rest of it, can't be read."""


class Film:
    """Decode a film forward, in flat memory; times are in seconds since its beginning.

    Raises `FilmError` for a file that is no film, has no picture or is damaged, `OSError` for one
    that isn't there.
    """

    def __init__(self, source: str | IO[bytes]) -> None:
        """Open the film at a path, or in a stream that can be sought."""
        self._source = source
        self._container, self._stream = self._open()
        self._origin = (self._container.start_time or 0) / av.time_base
        self._before = math.inf  # the time of the frame before the current one, if that is known
        self._current: tuple[float, VideoFrame] | None = None
        self._frames = self.frames()

    def _open(self) -> tuple[InputContainer, VideoStream]:
        try:
            # A damaged tag must not hide the film.
            container = av.open(
                self._source,
                "r",
                metadata_errors="replace",
                options={"format_whitelist": CONTAINERS},
            )
        except av.error.FFmpegError as error:
            if isinstance(error, FileNotFoundError | PermissionError):
                raise
            raise FilmError(
                "film_unreadable",
                "This is no film of a kind that can be read here, or it is damaged: "
                f"{error.strerror}.",
            ) from error
        # The cover of a recording is a stream of one picture.
        streams = [
            each
            for each in container.streams.video
            if not each.disposition & av.stream.Disposition.attached_pic
        ]
        if not streams:
            raise FilmError("film_without_picture", "The film holds sound, but no picture.")
        stream = streams[0]
        if stream.codec_context is None or stream.time_base is None:
            raise FilmError("film_unreadable", "There is no decoder for this film's picture.")
        stream.thread_type = "AUTO"
        stream.codec_context.thread_count = DECODER_THREADS
        return container, stream

    def list_samples(
        self, fps: float, start: float = 0.0, end: float | None = None
    ) -> Iterator[tuple[int, float]]:
        """Yield the number, from 1, and the time of the first frame in each `1 / fps` seconds.

        They are those from `start` until `end`; nothing is decoded. A film that breaks off, or ends
        before `start`, has a last sample where there is no frame; reading it tells so.
        """
        times, last = array("d"), 0.0
        self._seek(0)
        with suppress(av.error.FFmpegError):  # Where it breaks off is told from what came.
            for packet in self._container.demux():
                if (time := self._time(packet)) is None or packet.is_discard:
                    continue
                last = max(last, time + float((packet.duration or 0) * (packet.time_base or 0)))
                if packet.stream_index == self._stream.index:
                    times.append(time)
        if not times:
            raise FilmError("film_unreadable", "The film is damaged: it holds no frame.")
        done, until = -1, math.inf if end is None else end
        for number, time in enumerate(sorted(times), start=1):
            tick = math.floor(time * fps + ROUNDING)
            if tick > done and start <= time + ROUNDING and time < until:
                yield number, time
                done = tick
        claimed = (self._container.duration or 0) / av.time_base
        if (last + BREAK_SECONDS < claimed and last < until) or done < 0:
            yield len(times) + 1, max(claimed, start)

    def frame_at(self, time: float) -> tuple[float, np.ndarray]:
        """Return the first frame at a time or after it: its own time, and upright pixels.

        The pixels are RGB uint8 (height, width, 3), square, of one field where the film is
        interlaced. Raises `FilmError` where the film ends before.
        """
        ahead = time - (self._current[0] if self._current else 0.0)
        passed = ahead < -ROUNDING and time <= self._before + ROUNDING
        if passed or ahead > SEEK_SECONDS:
            self._current, self._frames = None, self.frames(time)
        while self._current is None or self._current[0] < time - ROUNDING:
            self._before = self._current[0] if self._current else math.inf
            self._current = next(self._frames, None)
            if self._current is None:
                self._frames = self.frames()
                raise FilmError(
                    "film_ended",
                    f"There is no picture at {time:.1f} s: the film ends before, or is damaged.",
                )
        return self._current[0], self.upright(self._current[1])

    def frames(self, since: float = 0.0) -> Iterator[tuple[float, VideoFrame]]:
        """Yield the time and picture of each frame from one at `since` or before it."""
        back = 0.0
        while True:
            self._seek(since - back)
            decoded = self._decode()
            first = next(decoded, None)
            # A film is entered at a key frame, which may follow what leads up to it.
            if since <= back or (first and first[0] <= since + ROUNDING):
                break
            back = 2 * back + 1
        if first:
            yield first
        yield from decoded

    def _seek(self, time: float) -> None:
        if time > 0:
            with suppress(av.error.FFmpegError):
                ticks = (time + self._origin) / float(self._stream.time_base or 1)
                self._container.seek(math.floor(ticks), stream=self._stream)
                return
        if not isinstance(self._source, str):
            self._source.seek(0)
        # Another iteration may still go on in the former one.
        self._container, self._stream = self._open()

    def _decode(self) -> Iterator[tuple[float, VideoFrame]]:
        with suppress(av.error.FFmpegError):
            for packet in self._container.demux(self._stream):
                frames: list[VideoFrame] = []
                with suppress(av.error.FFmpegError):  # Others of its packets may be whole.
                    frames = packet.decode()
                for frame in frames:
                    if not frame.is_corrupt and (time := self._time(frame)) is not None:
                        yield time, frame

    def _time(self, timed: av.Packet | VideoFrame) -> float | None:
        ticks = timed.dts if timed.pts is None else timed.pts
        if ticks is None or timed.time_base is None:
            return None
        return float(ticks * timed.time_base) - self._origin

    def upright(self, frame: VideoFrame) -> np.ndarray:
        """Return a frame as a player shows it, RGB uint8 (height, width, 3)."""
        aspect = float(self._stream.sample_aspect_ratio or 1) or 1.0
        size = (round(frame.width * aspect), frame.height)
        pixels = frame.to_ndarray(format="rgb24", width=size[0], height=size[1])
        if frame.interlaced_frame:
            pixels = np.asarray(cv2.resize(pixels[::2], size), np.uint8)
        return np.ascontiguousarray(np.rot90(pixels, round(frame.rotation / 90)), np.uint8)
