"""The plan: every utterance in one unit, units of even length, the same whatever the order of the manifest."""

from __future__ import annotations

import orjson
from hypothesis import given
from hypothesis import strategies as st

from manifests.settings.plan import PlanSettings
from manifests.splits import MIN_SPEAKERS
from manifests.storage import Store
from manifests.utterance import AudioRef, Header, Query, Utterance, from_cut, to_cut
from pipelines.stages.buckets import Bounds
from pipelines.stages.s30_plan import batches, planned, read_plan, unit_cuts, write_plan
from tests.memory import peak_of
from tests.pipelines import plan_in_memory

IDS = st.text(st.characters(exclude_categories=("Cs",)), min_size=1, max_size=6)
SECONDS = st.floats(0.01, 60.0, allow_nan=False)
CORPUS = st.dictionaries(IDS, SECONDS, min_size=1, max_size=60)


def line(
    utterance_id: str, seconds: float = 1.0, content: str | None = None, text: str | None = "hello", start: float = 0.0,
    speaker: str | None = None, fault: tuple[str, str] | None = None, query: Query | None = None,
) -> bytes:  # fmt: skip
    header = Header(1000, max(1, round(seconds * 1000)), 1, content, fault)
    return orjson.dumps(
        to_cut(Utterance(utterance_id, AudioRef("a.wav"), text, speaker, start=start, query=query), header)
    )


def cuts_of(lines: list[bytes], settings: PlanSettings | None = None) -> dict[str, dict]:
    """The planned cuts by id."""
    data = b"".join(data for _, data in planned(lines, settings or PlanSettings()))
    return {cut["id"]: cut for cut in map(orjson.loads, data.splitlines())}


NAMES = st.one_of(IDS, st.sampled_from(["a", "a#2", "a#2#", "a#3", "a#2#2", "b", "b#2#"]))
ROWS = st.builds(
    line, NAMES, SECONDS, st.sampled_from([None, "x", "y"]), st.sampled_from(["hello", None]), st.sampled_from([0.0, 0.5]),
    st.sampled_from([None, *"abcdefghijkl"]), st.sampled_from([None, None, None, ("unreadable", "is no sound")]),
    st.sampled_from([None, Query("is it on"), Query("is it on", audio=AudioRef("q.wav"))]),
)  # fmt: skip
BOUNDS = st.builds(Bounds, st.sampled_from([1, 100, 5_000, 32 << 20]), st.sampled_from([1, 2, 8]))
PLANS = st.builds(
    PlanSettings, unit_seconds=st.floats(0.5, 500.0), seed=st.sampled_from([0, 7]), dedup=st.booleans()
)  # fmt: skip


@given(st.lists(ROWS, max_size=40), PLANS, BOUNDS)
def test_any_bounds_of_memory_give_the_plan_that_memory_without_bounds_gives(
    lines: list[bytes], settings: PlanSettings, bounds: Bounds
) -> None:
    made = [(unit.count, unit.seconds, data) for unit, data in planned(iter(lines), settings, bounds)]
    assert made == list(plan_in_memory.planned(lines, settings))


def test_an_utterance_without_a_speaker_is_no_speaker() -> None:
    """With one more that nobody names they were ten too early, and counted no further."""
    lines = [line("nobody"), *(line(f"u{n}", speaker=f"s{n}") for n in range(MIN_SPEAKERS))]
    assert not any("few_speakers" in cut["custom"] for cut in cuts_of(lines).values())
    assert all("few_speakers" in cut["custom"] for cut in cuts_of(lines[:-1]).values())


def test_one_id_for_all_and_one_sound_for_all_are_planned_within_bounds_too() -> None:
    same_id, same_sound = [line("a", content=str(n)) for n in range(300)], [line(f"u{n}", 1.5, "x") for n in range(300)]
    for lines in (same_id, same_sound):
        made = [data for _, data in planned(lines, PlanSettings(unit_seconds=50), Bounds(500, 2))]
        assert made == [data for *_, data in plan_in_memory.planned(lines, PlanSettings(unit_seconds=50))]


def units_of(lines: list[bytes], settings: PlanSettings) -> list[list[str]]:
    return [[orjson.loads(cut)["id"] for cut in data.splitlines()] for _, data in planned(lines, settings)]


@given(CORPUS, st.floats(0.5, 500.0))
def test_every_utterance_stands_in_exactly_one_unit(corpus: dict[str, float], unit_seconds: float) -> None:
    units = units_of([line(i, s) for i, s in corpus.items()], PlanSettings(unit_seconds=unit_seconds))
    assert sorted(i for unit in units for i in unit) == sorted(corpus)
    assert all(units)


@given(CORPUS, st.randoms())
def test_the_plan_does_not_depend_on_the_order_of_the_manifest(corpus: dict[str, float], random) -> None:
    lines = [line(i, s) for i, s in corpus.items()]
    turned = list(lines)
    random.shuffle(turned)
    settings = PlanSettings(unit_seconds=20.0)
    assert list(planned(lines, settings)) == list(planned(turned, settings))


@given(CORPUS, st.floats(1.0, 300.0))
def test_units_are_even_to_within_the_longest_utterance(corpus: dict[str, float], unit_seconds: float) -> None:
    lines = [line(i, s) for i, s in corpus.items()]
    seconds = [orjson.loads(cut)["duration"] for cut in lines]
    total, longest = sum(seconds), max(seconds)
    share = total / max(1, round(total / unit_seconds))
    for unit, _ in planned(lines, PlanSettings(unit_seconds=unit_seconds)):
        assert abs(unit.seconds - share) <= longest + 2e-3 or longest > share


def test_another_seed_shuffles_otherwise() -> None:
    lines = [line(f"u{n}") for n in range(100)]
    plans = [units_of(lines, PlanSettings(unit_seconds=10, seed=seed)) for seed in (0, 1)]
    assert plans[0] != plans[1]


def test_an_empty_manifest_is_a_plan_of_no_units(tmp_path) -> None:
    assert write_plan([], PlanSettings(), Store(str(tmp_path))) == ()
    assert read_plan(Store(str(tmp_path))) == ()


def test_a_repeated_id_keeps_its_first_line_and_books_the_others_under_new_names() -> None:
    cuts = cuts_of([line("a"), line("a"), line("a#2"), line("a")])
    fault = {name: from_cut(cut).fault for name, cut in cuts.items()}
    assert set(fault) == {"a", "a#2", "a#2#", "a#3"}
    assert fault["a"] is None
    assert fault["a#2"] is None
    assert [f[0] for name, f in fault.items() if name not in ("a", "a#2") and f] == ["duplicate_id", "duplicate_id"]


@given(st.lists(st.sampled_from(["a", "a#2", "a#3", "b", "b#2#"]), max_size=12))
def test_after_marking_no_two_lines_share_an_id(ids: list[str]) -> None:
    cuts = cuts_of([line(i) for i in ids])
    assert len(cuts) == len(ids)
    assert set(ids) <= set(cuts)


def test_copies_are_the_same_bytes_part_and_words_and_the_first_is_kept() -> None:
    lines = [
        line("a", content="x"), line("b", content="x"), line("c", content="y"), line("d", content="x", text="other"),
        line("e", content="x", start=0.5), line("f"), line("g"),
    ]  # fmt: skip
    found = (
        {name: cut["custom"].get("copy_of") for name, cut in cuts_of(lines, PlanSettings(dedup=d)).items()}
        for d in (True, False)
    )
    copies = [{name: owner for name, owner in one.items() if owner} for one in found]
    assert copies == [{"b": "a"}, {}]


def test_the_same_answer_to_another_query_is_no_copy() -> None:
    """Replies that are spoken once and played often: the pairs are what is learned from."""
    queries = [Query("lamp on"), Query("music on"), Query("lamp on"), Query("lamp on", audio=AudioRef("q.wav")), None]
    cuts = cuts_of([line(f"d{n}", content="okay", query=query) for n, query in enumerate(queries)])
    assert {name: cut["custom"]["copy_of"] for name, cut in cuts.items() if "copy_of" in cut["custom"]} == {"d2": "d0"}


def test_a_copy_stays_in_the_plan_and_says_whose_it_is() -> None:
    cuts = cuts_of([line("a", content="x"), line("b", content="x")])
    assert cuts["b"]["custom"]["copy_of"] == "a"
    assert "copy_of" not in cuts["a"]["custom"]


def test_a_written_plan_is_read_back_and_not_written_again(tmp_path) -> None:
    store, lines = Store(str(tmp_path)), [line(f"u{n}", 2.0) for n in range(50)]
    units = write_plan(lines, PlanSettings(unit_seconds=20), store)
    assert read_plan(store) == units
    assert [[c["id"] for c in unit_cuts(store, u.index)] for u in units] == units_of(
        lines, PlanSettings(unit_seconds=20)
    )
    assert write_plan(lines[:1], PlanSettings(), store) == units


@given(st.lists(SECONDS, max_size=60), st.floats(1.0, 200.0))
def test_batches_hold_every_position_once_and_no_more_than_their_seconds_when_padded(
    seconds: list[float], limit: float
) -> None:
    groups = batches(seconds, limit)
    assert sorted(i for group in groups for i in group) == list(range(len(seconds)))
    for group in groups:
        assert len(group) == 1 or max(seconds[i] for i in group) * len(group) <= limit


def test_a_plan_holds_a_small_part_of_its_manifest_at_a_time() -> None:
    def bytes_of_plan(many: int) -> int:
        lines = (line(f"u{n}", 1.0 + n % 5, f"{n // 2}", f"{n // 2} {'and so on ' * 30}") for n in range(many))
        return sum(len(data) for _, data in planned(lines, PlanSettings(unit_seconds=300), Bounds(40_000, 6)))

    many = 8_000
    whole, held = peak_of(lambda: bytes_of_plan(many))
    assert whole > many * 600
    assert held < whole / 2, f"{held} of {whole} bytes were held"
