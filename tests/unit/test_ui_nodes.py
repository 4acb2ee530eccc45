"""Nodes: user input stays text, and texts about times and numbers are those of the commands."""

import msgspec
import pytest

from peekaping_producer.operations.moments import Moments
from peekaping_producer.ui.rendering.nodes import (
    Entry,
    Node,
    age,
    at,
    card,
    clock,
    count,
    link,
    log,
    pairs,
    prose,
    span,
    tag,
    user_text,
    verdict,
    visible,
)
from tests.kit.nodes import named, text_of

NOW_MS = 1_795_662_619_204
"""03:10:19 on 2026-11-26."""


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("payments · 3-D Secure, Zürich 支付 🚀", "payments · 3-D Secure, Zürich 支付 🚀"),
        ("<img src=x onerror=alert(1)>", "<img src=x onerror=alert(1)>"),
        ("a\u202egnp.exe\u2066", "a\\u202egnp.exe\\u2066"),
        ("a\x00\x1b[31m\r\n\t\x7f\x9b", "a\\u0000\\u001b[31m\\u000d\\u000a\\u0009\\u007f\\u009b"),
        ("a\u2028b\u2029c\ufeff\u200b\u200e\u00ad", "a\\u2028b\\u2029c\\ufeff\\u200b\\u200e\\u00ad"),
        ("\U000e0041", "\\ue0041"),
        ("می\u200cخواهم 👩\u200d💻", "می\u200cخواهم 👩\u200d💻"),  # joiners hide nothing
        ("no\u00a0break", "no\u00a0break"),
        ("\ud800", "\\ud800"),
        ("", ""),
    ],
)
def test_characters_that_hide_or_reorder_are_shown_as_codes(text: str, shown: str) -> None:
    assert visible(text) == shown
    assert user_text(text) == ["bdi", shown]
    msgspec.json.encode(user_text(text))


@pytest.mark.parametrize(
    ("text", "node"),
    [
        ("Run `status <b>`, or wait.", ["", ["bdi", "Run "], ["code", "status <b>"], ["bdi", ", or wait."]]),
        ("`status`", ["", ["code", "status"]]),
        ('"a`b\u202e"', ["bdi", '"a`b\\u202e"']),  # a reason with a backtick
        ("", [""]),
    ],
)
def test_what_is_between_backticks_is_code(text: str, node: Node) -> None:
    assert prose(text) == node


def test_a_link_shows_the_name_or_the_id() -> None:
    assert link("a/b\u202e", "shop\n") == ["Link", "a/b\u202e", "shop\\u000a"]
    assert link("m1", None) == link("m1", "") == ["Link", "m1", "m1"]


def test_pairs_without_a_value_are_left_out() -> None:
    rows = pairs("figures", [("a", None), ("b", ""), ("c", 0), ("d", "0"), ("e", ["", "x"], "bad"), ("f", "y", "")])
    assert rows == ["Pairs", "figures", [["d", "0"], ["e", ["", "x"], "bad"], ["f", "y"]]]


def test_events_with_problems_are_marked() -> None:
    events = [
        Entry(NOW_MS - 9000, "lease.reclaimed", "38 monitors\u202e.", "m1", "vm-b"),
        Entry(NOW_MS - 9000, "monitor.held\x1b", "Held by anna.", None, "anna"),
    ]
    assert log(events, NOW_MS) == [
        "Log",
        [
            ["03:10:10", "lease.reclaimed", "warn", "38 monitors\\u202e.", "m1", "vm-b"],
            ["03:10:10", "monitor.held\\u001b", "", "Held by anna.", None, ""],
        ],
    ]


@pytest.mark.parametrize(("level", "shape"), [("good", "circle"), ("warn", "path"), ("bad", "rect"), ("off", "path")])
def test_the_level_of_a_verdict_is_a_shape_and_a_word(level: str, shape: str) -> None:
    found = verdict(level, "Word", "A sentence.", "More.", now_ms=NOW_MS, since_ms=NOW_MS - 9000)
    assert len(named(named(found, "svg")[0], shape)) == 1
    assert text_of(found) == "Wordsince 03:10:10 (9.0 s ago)A sentence.More."


def test_cards_and_tags() -> None:
    assert card("Title", "", None, "x") == ["section.card", ["header", ["h2", "Title"], ["span.note"]], "x"]
    assert card("Title", "note") == ["section.card", ["header", ["h2", "Title"], ["span.note", "note"]]]
    assert (tag("due"), tag("paused", "warn")) == (["span.tag", "due"], ["span.tag warn", "paused"])


def test_times_and_numbers() -> None:
    for at_ms in (NOW_MS - 7000, NOW_MS, NOW_MS + 40_800):
        assert at(at_ms, NOW_MS) == Moments(NOW_MS).at(at_ms)
    assert at(NOW_MS - 90_000_000, NOW_MS) == "2026-11-25 02:10:19 (25 h ago)"
    assert (clock(None, NOW_MS), clock(NOW_MS, NOW_MS), clock(1e30, NOW_MS)) == ("–", "03:10:19", "an invalid time")
    assert (age(None, NOW_MS), age(NOW_MS + 5, NOW_MS), age(NOW_MS - 250, NOW_MS)) == ("–", "0.0 ms", "250 ms")
    assert (span(None), span(272.0)) == ("–", "4.5 min")
    assert (count(None), count(0), count(84_212.4)) == ("?", "0", "84,212")
