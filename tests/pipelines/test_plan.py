"""The plan: every utterance in one unit, units of even length, the same whatever the order of the manifest."""

from __future__ import annotations

import orjson
from hypothesis import given
from hypothesis import strategies as st

from manifests.settings.plan import PlanSettings
from manifests.storage import Store
from manifests.utterance import AudioRef, Header, Utterance, from_cut, to_cut
from pipelines.stages.s30_plan import Lines, assign, batches, mark, planned, read_plan, unit_cuts, write_plan

IDS = st.text(st.characters(exclude_categories=("Cs",)), min_size=1, max_size=6)
SECONDS = st.floats(0.01, 60.0, allow_nan=False)
CORPUS = st.dictionaries(IDS, SECONDS, min_size=1, max_size=60)


def line(
    utterance_id: str, seconds: float = 1.0, content: str | None = None, text: str | None = "hello", start: float = 0.0
) -> bytes:
    header = Header(1000, max(1, round(seconds * 1000)), 1, content)
    return orjson.dumps(to_cut(Utterance(utterance_id, AudioRef("a.wav"), text, start=start), header))


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
    lines = Lines.of(line(i, s) for i, s in corpus.items())
    total, longest = float(lines.seconds_N.sum()), float(lines.seconds_N.max())
    share = total / max(1, round(total / unit_seconds))
    for part in assign(lines.ids, lines.seconds_N, PlanSettings(unit_seconds=unit_seconds)):
        assert abs(float(lines.seconds_N[part].sum()) - share) <= longest + 1e-6 or longest > share


def test_another_seed_shuffles_otherwise() -> None:
    lines = [line(f"u{n}") for n in range(100)]
    plans = [units_of(lines, PlanSettings(unit_seconds=10, seed=seed)) for seed in (0, 1)]
    assert plans[0] != plans[1]


def test_an_empty_manifest_is_a_plan_of_no_units(tmp_path) -> None:
    assert write_plan([], PlanSettings(), Store(str(tmp_path))) == ()
    assert read_plan(Store(str(tmp_path))) == ()


def test_a_repeated_id_keeps_its_first_line_and_books_the_others_under_new_names() -> None:
    lines = [line("a"), line("a"), line("a#2"), line("a")]
    cuts = {c["id"]: c for _, data in planned(lines, PlanSettings()) for c in map(orjson.loads, data.splitlines())}
    assert len(cuts) == 4
    fault = {name: from_cut(cut).fault for name, cut in cuts.items()}
    assert fault["a"] is None
    assert fault["a#2"] is None
    assert [f[0] for name, f in fault.items() if name not in ("a", "a#2") and f] == ["duplicate_id", "duplicate_id"]


@given(st.lists(st.sampled_from(["a", "a#2", "a#3", "b", "b#2#"]), max_size=12))
def test_after_marking_no_two_lines_share_an_id(ids: list[str]) -> None:
    lines = Lines.of(line(i) for i in ids)
    renamed = mark(lines, True).renamed
    names = [renamed.get(n, i) for n, i in enumerate(ids)]
    assert len(set(names)) == len(names)
    assert set(ids) <= set(names)


def test_copies_are_the_same_bytes_part_and_words_and_the_first_is_kept() -> None:
    lines = Lines.of([
        line("a", content="x"), line("b", content="x"), line("c", content="y"), line("d", content="x", text="other"),
        line("e", content="x", start=0.5), line("f"), line("g"),
    ])  # fmt: skip
    assert mark(lines, True).copy_of == {1: "a"}
    assert mark(lines, False).copy_of == {}


def test_a_copy_stays_in_the_plan_and_says_whose_it_is() -> None:
    data = b"".join(d for _, d in planned([line("a", content="x"), line("b", content="x")], PlanSettings()))
    cuts = {c["id"]: c for c in map(orjson.loads, data.splitlines())}
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
