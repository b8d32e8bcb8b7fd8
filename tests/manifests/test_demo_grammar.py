"""The demo's text: what its grammar, its dialogues and its script promise."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from itertools import islice

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from manifests.demo.domain import INTENTS, RULES
from manifests.demo.draws import Draws
from manifests.demo.formalism import draw, expansions, fill, references, to_jsgf, words_only
from manifests.demo.grammar import SIDES, Dialogue, dialogue, dialogues, is_plain, jsgf, sentences, split_of, words
from manifests.demo.script import Cast, Manner, Persona, script_line, utterance_plan
from manifests.settings.demo import DemoSettings

COUNT = 600
CAST = Cast(
    "flite",
    tuple(Persona(f"slt-r{row}p0", "slt", rate, 1.0) for row, rate in enumerate((0.9, 1.0, 1.1))),
    "rms",
    Manner(rate=(0.8, 1.2), pitch=(0.9, 1.1)),
)
seeds = st.integers(0, 2**32)
indices = st.integers(0, 10**6)


@pytest.fixture(scope="module")
def said() -> list[Dialogue]:
    return list(dialogues(3, COUNT))


@pytest.fixture(scope="module")
def every() -> dict[str, frozenset[str]]:
    return {side: frozenset(sentences(side)) for side in SIDES}


def test_the_vocabulary_is_of_the_size_of_a_closed_domain() -> None:
    assert 150 <= len(words()) <= 300


def test_every_word_is_in_the_recognisers_dictionary() -> None:
    pocketsphinx = pytest.importorskip("pocketsphinx")
    with open(pocketsphinx.get_model_path("en-us/cmudict-en-us.dict"), encoding="utf-8") as lines:
        known = {line.split()[0] for line in lines if line.strip()}
    assert words() - known == frozenset()


def test_words_that_sound_alike_do_not_occur_together() -> None:
    for pair in (("one", "nine"), ("thirteen", "thirty"), ("fifteen", "fifty"), ("twenty", "eighty")):
        assert not set(pair) <= words()


def test_each_side_has_thousands_of_distinct_sentences_and_shares_none_with_the_other(
    every: dict[str, frozenset[str]],
) -> None:
    assert len(every["query"]) > 3000
    assert len(every["response"]) > 20_000
    assert not every["query"] & every["response"]


def test_every_sentence_is_plain_lower_case_words_and_a_response_is_of_4_to_14(
    every: dict[str, frozenset[str]],
) -> None:
    assert all(map(is_plain, every["query"] | every["response"]))
    assert {len(text.split()) for text in every["response"]} <= set(range(4, 15))


def test_every_rule_is_used_and_every_reference_has_a_rule() -> None:
    patterns = [text for intent in INTENTS for text in (*intent.queries, *intent.responses)]
    used = {name.partition(":")[0] for text in patterns for name in references(text)}
    assert used == set(RULES)


@given(seeds, indices)
@settings(max_examples=60, deadline=None)
def test_a_dialogue_is_a_pure_function_of_seed_and_index(seed: int, index: int) -> None:
    first = dialogue(seed, index)
    dialogue(seed, index + 1)
    assert dialogue(seed, index) == first
    assert first.index == index


def test_a_longer_run_begins_with_a_shorter_one(said: list[Dialogue]) -> None:
    assert list(islice(dialogues(3, COUNT), 40)) == list(dialogues(3, 40)) == said[:40]


def test_different_seeds_say_different_things(said: list[Dialogue]) -> None:
    other = list(dialogues(4, 40))
    assert [one.query for one in other] != [one.query for one in said[:40]]


def test_ids_are_unique_and_free_of_dots(said: list[Dialogue]) -> None:
    assert len({one.id for one in said}) == COUNT
    assert not any("." in one.id or "/" in one.id for one in said)


@given(seeds, indices)
@settings(max_examples=60, deadline=None)
def test_both_sides_of_a_dialogue_are_of_its_split(seed: int, index: int) -> None:
    one = dialogue(seed, index)
    assert split_of(one.query) == split_of(one.response) == one.split


def test_a_held_out_sentence_never_occurs_in_train_whatever_the_seed(said: list[Dialogue]) -> None:
    other = list(dialogues(11, 200))
    trained = {text for one in said + other if one.split == "train" for text in (one.query, one.response)}
    held = {text for one in said + other if one.split != "train" for text in (one.query, one.response)}
    assert held
    assert not trained & held


def test_about_5_percent_are_dev_and_11_percent_are_test(every: dict[str, frozenset[str]]) -> None:
    splits = [split_of(text) for text in every["response"]]
    assert splits.count("dev") / len(splits) == pytest.approx(0.05, abs=0.01)
    assert splits.count("test") / len(splits) == pytest.approx(0.11, abs=0.01)


def test_the_default_demo_has_at_least_300_distinct_test_sentences() -> None:
    defaults = DemoSettings()
    test = [one for one in dialogues(defaults.seed, defaults.dialogues) if one.split == "test"]
    assert len({text for one in test for text in (one.query, one.response)}) >= 300


def test_a_response_keeps_the_values_its_query_asked_for(said: list[Dialogue]) -> None:
    timers = [one for one in said if one.intent == "timer"]
    assert timers
    for one in timers:
        count = re.search(r"(\w+) minutes", one.query)
        dish = next(text for text in RULES["dish"] if text in one.query)
        assert count
        assert count[0] in one.response
        assert dish in one.response


@pytest.mark.parametrize("intent", INTENTS, ids=lambda intent: intent.name)
def test_every_response_of_an_intent_shares_a_slot_with_each_of_its_queries(intent) -> None:
    for query in intent.queries:
        for response in intent.responses:
            assert set(references(query)) & set(references(response)) - {"ask", "okay", "fact"}


def test_every_dialogue_parses_under_the_jsgf_of_its_side_and_not_of_the_other(said: list[Dialogue]) -> None:
    both = Jsgf(jsgf())
    queries, responses = Jsgf(jsgf("query")), Jsgf(jsgf("response"))
    for one in said[:300]:
        assert queries.accepts("query", one.query)
        assert responses.accepts("response", one.response)
        assert both.accepts("query", one.query)
        assert not both.accepts("response", one.query)


def test_one_sides_jsgf_holds_no_rule_it_does_not_reach() -> None:
    assert "<landmark>" not in jsgf("query")
    assert "<ask>" not in jsgf("response")


@given(st.integers(0, 2**32))
@settings(max_examples=50, deadline=None)
def test_whatever_is_drawn_is_among_the_expansions_and_parses(seed: int) -> None:
    rules = {"a": ("x", "x y", ""), "b": ("<a> z", "w")}
    pattern = "<b> v, <a:c>"
    text = draw(pattern, rules, Draws(seed))
    assert text in set(expansions(pattern, rules))
    assert Jsgf(to_jsgf({"top": (pattern,)}, rules)).accepts("top", words_only(text))


def test_a_reference_named_twice_has_one_value_and_a_labelled_one_its_own() -> None:
    rules = {"a": ("x", "y")}
    assert set(expansions("<a> <a>", rules)) == {"x x", "y y"}
    assert set(expansions("<a> <a:b>", rules)) == {"x x", "x y", "y x", "y y"}


def test_an_empty_value_leaves_neither_a_space_nor_a_comma() -> None:
    assert fill("<a>, say <b> now", {"a": "", "b": ""}) == "say now"


@given(seeds, st.lists(st.integers(0, 100), max_size=4))
def test_a_draw_lies_in_its_range_and_depends_on_its_path_alone(seed: int, path: list[int]) -> None:
    draws = Draws(seed).at(*path)
    assert 2.0 <= draws.uniform(2.0, 3.0) < 3.0
    assert draws.uniform() == Draws(seed, tuple(path)).uniform()


def test_a_script_line_is_a_pure_function_and_stays_in_the_casts_manner() -> None:
    plan = list(utterance_plan(5, 60, CAST))
    assert script_line(5, 41, CAST) == plan[41]
    for line in plan:
        assert 0.8 <= line.response.prosody.rate <= 1.2
        assert line.response.speaker == "assistant"
        assert line.response.voice == "rms"
        assert line.query.speaker in {persona.speaker for persona in CAST.personas}


def test_the_script_uses_every_persona_and_never_the_same_response_prosody_throughout() -> None:
    plan = list(utterance_plan(5, 60, CAST))
    assert {line.query.speaker for line in plan} == {persona.speaker for persona in CAST.personas}
    assert len({line.response.prosody for line in plan}) == 60


class Jsgf:
    """A recursive matcher for the JSGF subset the grammar is written in: sequences, alternatives, groups, <NULL>."""

    def __init__(self, text: str) -> None:
        rules = re.findall(r"^(?:public )?<(\w+)> = (.*);$", text, flags=re.MULTILINE)
        self.rules: Mapping[str, list[str]] = {name: re.findall(r"<\w+>|[()|]|[a-z']+", body) for name, body in rules}

    def accepts(self, rule: str, sentence: str) -> bool:
        spoken = sentence.split()
        return len(spoken) in self.ends(self.rules[rule], spoken, 0)

    def ends(self, body: list[str], spoken: list[str], start: int) -> set[int]:
        return {end for branch in split_top(body) for end in self.sequence(branch, spoken, start)}

    def sequence(self, tokens: list[str], spoken: list[str], start: int) -> set[int]:
        if not tokens:
            return {start}
        if tokens[0] == "(":
            close = closing(tokens)
            after, rest = self.ends(tokens[1:close], spoken, start), tokens[close + 1 :]
        elif tokens[0] == "<NULL>":
            after, rest = {start}, tokens[1:]
        elif tokens[0].startswith("<"):
            after, rest = self.ends(self.rules[tokens[0][1:-1]], spoken, start), tokens[1:]
        else:
            after, rest = ({start + 1} if spoken[start : start + 1] == tokens[:1] else set()), tokens[1:]
        return {end for at in after for end in self.sequence(rest, spoken, at)}


def closing(tokens: list[str]) -> int:
    depth = 0
    for place, token in enumerate(tokens):
        depth += (token == "(") - (token == ")")
        if depth == 0:
            return place
    raise AssertionError("unbalanced")


def split_top(tokens: list[str]) -> Iterator[list[str]]:
    depth, branch = 0, []
    for token in tokens:
        depth += (token == "(") - (token == ")")
        if token == "|" and depth == 0:
            yield branch
            branch = []
        else:
            branch.append(token)
    yield branch
