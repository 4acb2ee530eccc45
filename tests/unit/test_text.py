import pytest

from peekaping_producer.service.text import escaped, first_sentence, one_line


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


@pytest.mark.parametrize("text", ["a\rb", "\x9b2J", "\ud800", "a\u2028b", "\u202eb"])
def test_no_text_controls_a_terminal(text: str) -> None:
    assert escaped(text) == repr(text)
