import pytest

from peekaping_producer.service.text import clock_time, counted, duration, escaped, first_sentence, one_line, wrapped


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("One. Two.\nThree", "One"),
        ('\n  password authentication failed for user "u"\nHINT: x', 'password authentication failed for user "u"'),
        ("a\x1b[31mred\x07", r"'a\x1b[31mred\x07'"),
        ("x" * 900, "x" * 200 + "…"),
        ("no pg_hba.conf entry for host", "no pg_hba.conf entry for host"),
        ("", ""),
    ],
)
def test_a_message_is_cited_by_its_first_sentence(text: str, shown: str) -> None:
    assert first_sentence(text) == shown


def test_a_text_is_cut_before_it_is_escaped() -> None:
    assert one_line("é" * 9, 8) == "é" * 8 + "…"
    assert one_line("a\n" + "b" * 9, 3) == r"'a\nb…'"
    assert one_line(one_line("x" * 900)) == one_line("x" * 900)


@pytest.mark.parametrize(
    ("line", "parts"),
    [
        ("a short line", ["a short line"]),
        ("one two three four five six seven", ["one two three four", "five six seven"]),
        ("fleet   Every check is on time.", ["fleet   Every check", "        is on time."]),
        ("fleet ok  Every check is on time", ["fleet ok  Every", "          check is", "          on time"]),
        ("      an indented line of words", ["      an indented", "      line of words"]),
        ("a very long label  and words", ["a very long label", "and words"]),
        ("\033[31mFAIL\033[0m  Redis cannot be read", ["\033[31mFAIL\033[0m  Redis cannot", "      be read"]),
        ("x" * 30 + " id", ["x" * 30, "id"]),
        ("", [""]),
    ],
)
def test_long_lines_are_wrapped_with_a_hanging_indent(line: str, parts: list[str]) -> None:
    assert wrapped(line, 20) == parts


def test_a_text_is_cut_between_words() -> None:
    assert one_line("although connected: look for a lock", 23) == "although connected:…"
    assert one_line("although connected: look for a lock", 24) == "although connected: look…"
    assert one_line("no cut", 6) == "no cut"
    assert one_line("id " + "x" * 90, 50) == "id " + "x" * 47 + "…", "a word that is too long is cut"


@pytest.mark.parametrize("text", ["a\rb", "\x9b2J", "\ud800", "a\u2028b", "\u202eb"])
def test_no_text_controls_a_terminal(text: str) -> None:
    assert escaped(text) == repr(text)


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [
        (0.0004, "0.4 ms"),
        (0.012, "12 ms"),
        (9.4, "9.4 s"),
        (119.0, "119.0 s"),
        (264.0, "4.4 min"),
        (6774.0, "1 h 53 min"),
        (10_800.0, "3 h"),
        (1e6, "11 d 14 h"),
    ],
)
def test_a_duration_has_the_unit_that_suits_it(seconds: float, shown: str) -> None:
    assert duration(seconds) == shown


def test_counts_agree_with_their_nouns() -> None:
    assert [counted(number, "monitor") for number in (0, 1, 14_090)] == ["0 monitors", "1 monitor", "14,090 monitors"]
    assert counted(2, "process", "processes") == "2 processes"


@pytest.mark.parametrize(
    ("at_ms", "shown"),
    [
        (1_795_351_066_550, "12:37:46"),
        (1_795_351_066_550 - 90_000_000, "2026-11-21 11:37:46"),
        (1e300, "an invalid time"),
        (float("nan"), "an invalid time"),
    ],
)
def test_a_time_of_redis_is_shown_in_utc(at_ms: float, shown: str) -> None:
    assert clock_time(at_ms, 1_795_351_066_550) == shown
