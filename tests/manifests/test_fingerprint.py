"""Fingerprints: equal values have equal ones whatever the order of their keys; draws are even and need no state."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from manifests import fingerprint as module
from manifests.fingerprint import canonical, content_hash, draw, fingerprint, pretty, pretty_parts, sha256

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


@given(st.dictionaries(st.text(), VALUES))
def test_the_order_of_keys_does_not_matter(value: dict) -> None:
    turned = dict(reversed(value.items()))
    assert canonical(value) == canonical(turned)
    assert fingerprint(value) == fingerprint(turned)


@given(VALUES)
def test_both_forms_are_json_of_the_value(value: object) -> None:
    for data in (canonical(value), pretty(value)):
        assert json.loads(data.decode("utf-8", "surrogatepass")) == value


@given(VALUES, st.integers(1, 5))
def test_in_parts_it_is_the_same(value: object, pieces: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "PIECES", pieces)
        whole = json.dumps(value, sort_keys=True, indent=1, ensure_ascii=False) + "\n"
        assert b"".join(pretty_parts(value)) == pretty(value) == whole.encode("utf-8", "surrogatepass")


@given(VALUES, VALUES)
def test_values_with_different_json_have_different_fingerprints(one: object, other: object) -> None:
    assert (fingerprint(one) == fingerprint(other)) == (canonical(one) == canonical(other))


@pytest.mark.parametrize("value", [float("nan"), float("inf"), [float("-inf")]])
def test_numbers_that_json_has_not_are_refused(value: object) -> None:
    with pytest.raises(ValueError, match="JSON"):
        canonical(value)


def test_a_fingerprint_is_twelve_hex_digits_and_never_changes() -> None:
    assert fingerprint({"b": [1, 2.5, None], "a": "ä"}) == sha256('{"a":"ä","b":[1,2.5,null]}'.encode())[:12]


def test_a_draw_is_the_same_in_another_process() -> None:
    code = "from manifests.fingerprint import draw; print(draw('plan', 0, 'ü'))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert int(done.stdout) == draw("plan", 0, "ü")


def test_parts_of_a_draw_do_not_run_together() -> None:
    assert draw("a", "bc") != draw("ab", "c")


def test_draws_are_spread_evenly() -> None:
    shares = sorted(draw("even", n) / 2**64 for n in range(10_000))
    assert max(abs(share - n / 10_000) for n, share in enumerate(shares)) < 0.025


def test_content_hashes_are_those_of_the_bytes() -> None:
    assert content_hash(b"a") == content_hash(memoryview(b"a")) != content_hash(b"b")
    assert len(content_hash(b"")) == 32
