"""The speech engines: what they say is a function of text, voice and prosody alone, and bad input is told."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np
import pytest

from manifests.demo.grammar import Side
from manifests.demo.script import Prosody, script_line
from tokenization import voices
from tokenization.recognisers.base import Recogniser, RecogniserSpec, Transcript
from tokenization.voices import ENGINES, VoiceError, choose_engine, engine_versions
from tokenization.voices.base import Engine, Speaker, say_phrases, trim
from tokenization.voices.cast import cast_of, personas_of
from tokenization.voices.espeak import EspeakSpeaker
from tokenization.voices.perform import SAMPLE_RATE, at_common_rate, perform
from tokenization.voices.screen import Prompt, prompts, recognisers, rehearsal, screen

TEXT = "okay, the kitchen lights are blue now"
PLAIN = Prosody()


@pytest.fixture(params=sorted(ENGINES))
def engine(request: pytest.FixtureRequest) -> Engine:
    found = ENGINES[request.param]
    if not found.available():
        pytest.skip(f"{found.name} is not installed ({found.install})")
    return found


@pytest.fixture
def speaker(engine: Engine) -> Iterator[Speaker]:
    held = engine.speaker()
    yield held
    held.close()


def test_saying_something_gives_speech_of_a_plausible_length(engine: Engine, speaker: Speaker) -> None:
    wave_T, rate = speaker.say(TEXT, engine.candidates[0].name, PLAIN)
    assert wave_T.dtype == np.int16
    assert 1.0 < len(wave_T) / rate < 5.0
    assert np.abs(wave_T.astype(int)).max() > 1000


def test_the_samples_do_not_depend_on_what_was_said_before(engine: Engine, speaker: Speaker) -> None:
    first, second = engine.candidates[0].name, engine.candidates[1].name
    asked = [
        (TEXT, first, PLAIN),
        ("remind me to feed the cat tomorrow", second, Prosody(rate=1.05)),
        (TEXT, second, Prosody(pitch=1.1)),
        ("hello", first, Prosody(rate=0.95, pitch=0.9)),
    ]
    forwards = [speaker.say(*one)[0] for one in asked]
    backwards = [speaker.say(*one)[0] for one in reversed(asked)][::-1]
    fresh = engine.speaker()
    alone = [fresh.say(*one)[0] for one in asked[1:2]]
    fresh.close()
    for one, other in zip(forwards, backwards, strict=True):
        np.testing.assert_array_equal(one, other)
    np.testing.assert_array_equal(alone[0], forwards[1])


def test_every_candidate_speaks_with_a_sound_of_its_own(engine: Engine, speaker: Speaker) -> None:
    said = {speaker.say("hello", voice.name, PLAIN)[0].tobytes() for voice in engine.candidates}
    assert len(said) == len(engine.candidates)


def test_a_higher_rate_is_shorter(engine: Engine, speaker: Speaker) -> None:
    for voice in engine.candidates[:4]:
        slow, fast = (len(speaker.say(TEXT, voice.name, Prosody(rate=rate))[0]) for rate in (0.9, 1.1))
        assert fast < 0.95 * slow


def test_every_pitch_a_voice_offers_changes_its_sound(engine: Engine, speaker: Speaker) -> None:
    for voice in engine.candidates[:4]:
        said = {speaker.say(TEXT, voice.name, Prosody(pitch=pitch))[0].tobytes() for pitch in voice.pitches}
        assert len(said) == len(voice.pitches)


def test_pause_and_lead_are_silence_of_the_asked_length(engine: Engine, speaker: Speaker) -> None:
    name = engine.candidates[0].name
    near, rate = speaker.say(TEXT, name, Prosody(pause=0.1, lead=0.0))
    far, _ = speaker.say(TEXT, name, Prosody(pause=0.3, lead=0.2))
    assert len(far) - len(near) == round(0.3 * rate) - round(0.1 * rate) + round(0.2 * rate)
    assert not far[: round(0.2 * rate)].any()


def test_an_unknown_voice_is_told_and_the_speaker_still_speaks(engine: Engine, speaker: Speaker) -> None:
    with pytest.raises(VoiceError, match="no voice 'nobody'"):
        speaker.say(TEXT, "nobody", PLAIN)
    assert len(speaker.say(TEXT, engine.candidates[0].name, PLAIN)[0])


def test_text_that_looks_like_options_or_shell_is_only_spoken(engine: Engine, speaker: Speaker) -> None:
    for text in ("-voice", "$(exit 3)", "'; false"):
        assert len(speaker.say(text, engine.candidates[0].name, PLAIN)[0])


def test_saying_nothing_is_told(engine: Engine, speaker: Speaker) -> None:
    for text in ("", " , "):
        with pytest.raises(VoiceError, match="nothing to say"):
            speaker.say(text, engine.candidates[0].name, PLAIN)


def test_a_dead_helper_is_replaced_and_its_successor_says_the_same_in_another_second() -> None:
    speaker = EspeakSpeaker()
    try:
        before, _ = speaker.say("hello", "en-us+f5", PLAIN)
        helper = speaker.start()
        helper.kill()
        helper.wait()
        time.sleep(1.1)  # espeak-ng seeds its noise with the second it starts in
        np.testing.assert_array_equal(speaker.say("hello", "en-us+f5", PLAIN)[0], before)
        assert speaker.start().pid != helper.pid
    finally:
        speaker.close()


def test_importing_the_voices_imports_nothing_heavy() -> None:
    heavy = "{'torch', 'ray', 'lhotse', 'pocketsphinx', 'jiwer', 'soxr', 'espeakng_loader'}"
    code = f"import sys, tokenization.voices, tokenization.voices.screen; print({heavy} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


def test_trimming_keeps_the_sound_and_drops_the_silence() -> None:
    wave_T = np.zeros(16_000, np.int16)
    wave_T[4000:8000] = 5000
    kept = trim(wave_T, 16_000)
    assert np.count_nonzero(kept) == 4000
    assert len(kept) <= 4000 + 8 * 160


def test_pure_silence_from_an_engine_is_told() -> None:
    for length in (0, 500):
        with pytest.raises(VoiceError, match="no sound"):
            say_phrases(lambda _, n=length: (np.zeros(n, np.int16), 16_000), "hello", PLAIN)


def test_auto_takes_the_first_engine_that_is_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    flite, espeak = (replace(ENGINES[name], available=lambda: True) for name in ("flite", "espeak"))
    monkeypatch.setattr(voices, "ENGINES", {"flite": flite, "espeak": espeak})
    assert choose_engine("auto").name == "flite"
    gone = replace(flite, available=lambda: False)
    monkeypatch.setattr(voices, "ENGINES", {"flite": gone, "espeak": espeak})
    assert choose_engine("auto").name == "espeak"
    with pytest.raises(VoiceError, match="apt-get install flite"):
        choose_engine("flite")


def test_where_no_engine_is_installed_both_cures_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    none = {name: replace(engine, available=lambda: False) for name, engine in ENGINES.items()}
    monkeypatch.setattr(voices, "ENGINES", none)
    with pytest.raises(VoiceError, match=r"apt-get install flite.*pip install espeakng-loader"):
        choose_engine()


def test_versions_name_what_is_installed(engine: Engine) -> None:
    assert engine.versions().items() <= engine_versions().items()
    assert all(engine.versions().values())


def test_resampling_to_the_common_rate_keeps_the_duration_and_is_repeatable() -> None:
    wave_T = (8000 * np.sin(np.arange(22_050) / 20)).astype(np.int16)
    out = at_common_rate(wave_T, 22_050)
    assert out.dtype == np.int16
    assert abs(len(out) - SAMPLE_RATE) <= 1
    np.testing.assert_array_equal(out, at_common_rate(wave_T, 22_050))
    assert at_common_rate(wave_T, SAMPLE_RATE) is wave_T


def test_a_performance_is_a_function_of_its_line_and_says_how_it_was_spoken(engine: Engine, speaker: Speaker) -> None:
    cast = cast_of(engine, engine.candidates)
    line = script_line(1, 5, cast)
    once = perform(speaker, line)
    perform(speaker, script_line(1, 6, cast))
    again = perform(speaker, line)
    np.testing.assert_array_equal(once.query_wave_T, again.query_wave_T)
    np.testing.assert_array_equal(once.response_wave_T, again.response_wave_T)
    assert once.sample_rate == SAMPLE_RATE
    assert once.metadata["query"]["speaker"] == line.query.speaker
    assert once.metadata["response"]["speaker"] == "assistant"
    assert once.metadata["response"]["rate"] == line.response.prosody.rate


def test_a_cast_has_many_personas_one_assistant_and_the_engines_order(engine: Engine) -> None:
    cast = cast_of(engine, engine.candidates[::-1])
    assert cast.assistant == engine.candidates[0].name
    assert 20 <= len(cast.personas) <= 40
    assert len({persona.speaker for persona in cast.personas}) == len(cast.personas)


def test_the_assistant_varies_as_far_as_it_is_told_about_the_same_middle() -> None:
    engine = ENGINES["flite"]
    whole, half, fixed = (cast_of(engine, engine.candidates, share).manner for share in (1.0, 0.5, 0.0))
    assert whole == engine.manner
    assert (half.rate, half.pitch, half.pause, half.lead) == (
        (0.925, 1.075),
        (0.94, 1.06),
        (0.135, 0.245),
        (0.0875, 0.1625),
    )
    assert fixed.rate == fixed.pitch == (1.0, 1.0)


def test_a_cast_without_voices_is_told() -> None:
    with pytest.raises(VoiceError, match="raise max_wer or choose another engine"):
        cast_of(ENGINES["flite"], [])


class Deaf:
    """Hears nothing."""

    spec = RecogniserSpec("deaf", "1", "")

    def recognise(self, waves: Sequence[np.ndarray]) -> list[Transcript]:
        return [Transcript("") for _ in waves]


def test_a_voice_that_is_not_understood_is_dropped_with_the_reason(engine: Engine) -> None:
    deaf: dict[Side, Recogniser] = {"query": Deaf(), "response": Deaf()}
    (found,) = screen(engine, engine.candidates[:1], prompts(2), deaf, 0.01)
    assert not found.kept
    assert found.wer == 1.0
    assert found.empty == found.sentences == 2
    assert "2 sentences not understood at all" in found.why


def test_the_assistants_voice_is_understood_and_screening_voices_apart_finds_the_same(engine: Engine) -> None:
    chosen = engine.candidates[:2]
    together = screen(engine, chosen, prompts(4), recognisers(), 0.01)
    apart = [screen(engine, [voice], prompts(4), recognisers(), 0.01)[0] for voice in reversed(chosen)][::-1]
    assert together == apart
    assert together[0].kept, together[0].why


def test_a_rehearsal_takes_every_persona_in_turn(engine: Engine) -> None:
    voice = engine.candidates[0]
    personas = personas_of(voice)
    lines = rehearsal(voice, engine.manner, prompts(2 * len(personas)))
    assert {line.speaker for line in lines} == {persona.speaker for persona in personas} | {voice.name}


def test_prompts_are_the_same_always_and_of_both_sides_in_turn() -> None:
    assert prompts(7) == prompts(12)[:7]
    assert [one.side for one in prompts(3)] == ["query", "response", "query"]
    assert all(isinstance(one, Prompt) for one in prompts(3))
