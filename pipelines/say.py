"""``speechmill say``: one text, or its text states, said by a trained talker, into a file or a pipe."""

from __future__ import annotations

import torch
from rich.console import Console

from pipelines.voice.device import device_of
from pipelines.voice.errors import SpeakError
from pipelines.voice.files import check, opened
from pipelines.voice.manner import Manner
from pipelines.voice.saying import Said, Times, say, warm_up
from pipelines.voice.voice import Voice
from pipelines.voice.words import Words


def say_into(
    run: str, text: Words, manner: Manner, out: str, stream: bool, console: Console, threads: int = 1, precision: str = "fp32",
    device: str | None = None,
) -> Said:  # fmt: skip
    """Say ``text`` into ``out`` and tell how long it took. Raises ``SpeakError``, ``CheckpointError``, ``TokenizerError``."""
    if isinstance(text, str) and not text.strip():
        raise SpeakError("the text is empty: nothing to say")
    check(out)
    torch.set_num_threads(threads)
    voice = Voice.load(run, device_of(device), precision)
    voice.decoder(manner, [text])  # refusals come before a file is begun
    voice.told(text)
    if stream:
        warm_up(voice, manner, text)
    with opened(out, voice.parts.speech.spec.sample_rate) as sink:
        said = say(voice, manner, text, sink, stream)
    asked = len(said.codes_FQ) >= voice.frames(manner)
    _tell(said, out, stream, console, "--max-seconds" if asked else "talker.max_frames, all that it has positions for")
    return said


def _tell(said: Said, out: str, stream: bool, console: Console, limit: str) -> None:
    if stream:
        console.print(f"first sound after {_split(said.first)}, libraries warm", soft_wrap=True)
    where = "standard output" if out == "-" else out
    speed = len(said.codes_FQ) / said.times.talker if said.times.talker else 0.0
    console.print(
        f"{where}: {said.seconds:.2f} s of speech in {_split(said.times)}; {said.real_time_factor:.2f} of real time, "
        f"{speed:,.0f} frames/s of the talker, {said.forwards:.1f} forwards a block", soft_wrap=True,
    )  # fmt: skip
    if said.cut:
        console.print(
            f"the talker did not come to an end: stopped after {said.seconds:.1f} s ({limit})", soft_wrap=True
        )
    if not said.samples:
        console.print("the talker ended at once: there is no sound in the file", soft_wrap=True)


def _split(times: Times) -> str:
    parts = (("reading the text", times.reading), ("talker", times.talker), ("vocoder", times.vocoder))
    return f"{1000 * times.total:,.0f} ms (" + ", ".join(f"{name} {1000 * value:,.0f}" for name, value in parts) + ")"
