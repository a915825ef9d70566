"""Films in files: frames and sound, encoded."""

from fractions import Fraction

import av
import numpy as np

from tests.helpers.pictures import photo_array


def moving(count=12, height=48, width=64):
    """Frames that all differ, the number of each, to 12, as the grey of a quarter."""
    for number in range(count):
        frame = np.roll(photo_array(height, width), 3 * number, 1)
        frame[: height // 2, : width // 2] = 20 * (number % 12)
        yield frame


def number_of(frame):
    height, width = frame.pixels.shape[:2]
    return round(frame.pixels[: height // 2 - 4, : width // 2 - 4, :3].mean() / 20)


def write_film(
    path,
    frames,
    codec="libx264",
    pix_fmt="yuv420p",
    *,
    layout="rgb24",
    stamps=None,
    time_base=Fraction(1, 25),
    options=None,
    sound=None,
    sound_start=0,
    tags=None,
    container_options=None,
):
    """Encodes arrays; ``sound`` in seconds."""
    frames = [
        frame
        if isinstance(frame, av.VideoFrame)
        else av.VideoFrame.from_ndarray(np.ascontiguousarray(frame), layout)
        for frame in frames
    ]
    with av.open(str(path), "w", options=container_options or {}) as container:
        stream = container.add_stream(codec, rate=25, options=options or {})
        stream.width, stream.height, stream.pix_fmt = frames[0].width, frames[0].height, pix_fmt
        stream.time_base = stream.codec_context.time_base = time_base
        stream.codec_context.thread_count = 1  # the same bytes every time
        for name, value in (tags or {}).items():
            setattr(stream.codec_context, name, value)
        packets = []
        for number, frame in enumerate(frames):
            frame.pts = number if stamps is None else stamps[number]
            frame.time_base = time_base
            for name, value in (tags or {}).items():
                if hasattr(frame, name):
                    setattr(frame, name, value)
            packets += stream.encode(frame)
        packets += stream.encode()
        if sound:
            packets += encode_sound(container, sound, sound_start)
        for packet in packets:
            container.mux(packet)
    return path


def encode_sound(container, seconds, start=0):
    stream = container.add_stream("aac", rate=48000, layout="mono")
    wave = np.sin(np.arange(int(seconds * 48000)) / 20, dtype=np.float32)[None]
    packets = []
    for begin in range(0, wave.shape[1], 1024):
        chunk = np.ascontiguousarray(wave[:, begin : begin + 1024])
        frame = av.AudioFrame.from_ndarray(chunk, "fltp", "mono")
        frame.rate, frame.pts = 48000, begin + round(start * 48000)
        packets += stream.encode(frame)
    return packets + stream.encode()
