"""The certificate flag, as Go's encoding/json (1.26) reads it: every result here was compared with Go."""

import json
import time
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from peekaping_producer.monitors import certificate_flag
from peekaping_producer.monitors.certificate_flag import read

SET = '"check_cert_expiry": true'
FAST_S = 20
"""Of the processor, for a large text: 0.1 to 0.6 s here, several times as much on a slow machine with coverage. What is
quadratic takes hours.
"""


def nested(levels: int, opening: str = "[", closing: str = "]", inner: str = "1") -> str:
    """Return an object with the flag and a member with so many levels."""
    return f'{{{SET}, "a": {opening * levels}{inner}{closing * levels}}}'


@pytest.mark.parametrize(
    "config",
    [
        '{"check_cert_expiry": true}',
        '\t\r\n {"check_cert_expiry":\ttrue } \n',
        '{"Check_Cert_Expiry": true}',
        '{"CHECK_CERT_EXPIRY": true}',
        '{"chec\u212a_cert_expiry": true}',  # the Kelvin sign
        '{"chec\\u006b_cert_expiry": true}',
        '{"chec\\u006B_cert_expiry": true}',
        '{"chec\\u004b_cert_expiry": true}',
        '{"chec\\u212a_cert_expiry": true}',
        '{"chec\\u212A_cert_expiry": true}',
        '{"check\\u005fcert\\u005Fexpiry": true}',
        "{" + "".join(f"\\u{ord(letter):04x}" for letter in "check_cert_expiry").join('""') + ": true}",
        '{"check_cert_expiry": false, "check_cert_expiry": true}',
        '{"check_cert_expiry": true, "check_cert_expiry": null}',
        '{"check_cert_expiry": true, "CHECK_CERT_EXPIRY": null}',
        '{"CHECK_CERT_EXPIRY": false, "check_cert_expiry": true}',
        '{"note": "\\u00e9", "n": ' + "9" * 5000 + ', "check_cert_expiry": true}',
        '{"n": -' + "9" * 5000 + '.5e-99999, "check_cert_expiry": true, "m": 1E+400}',
        '{"note": "\\ud800", "check_cert_expiry": true}',
        '{"\\udc00\\ud83d": "\\ud83d\\ude00", "check_cert_expiry": true}',
        '{"note": "\\"check_cert_expiry\\": false, \\\\", "check_cert_expiry": true}',
        '{"note": "\x7f\u2028\ufeff", "check_cert_expiry": true}',
        '{"a": {"check_cert_expiry": false}, "check_cert_expiry": true}',
        '{"a": [{"check_cert_expiry": 1}, [], {}, [{}, "x"]], "check_cert_expiry": true}',
        '{"": true, "check_cert_expiry": true}',
        nested(900),
        nested(1200),
        nested(1200, '{"a":', "}"),
        nested(9_999),
        nested(9_998, "[ ", " ]", "[ ]"),
        nested(9_998, '{"check_cert_expiry": ', "}", "{}"),
        f'{{"chec\\u006b_cert_expiry": true, "a": {"[" * 9999}{"]" * 9999}}}',
    ],
    ids=lambda config: f"{config[:40]!r}",
)
def test_it_is_set(config: str) -> None:
    assert read(config) is True


@pytest.mark.parametrize(
    "config",
    [
        "null",
        " null\n",
        "{}",
        '{"check_cert_expiry": false}',
        '{"check_cert_expiry": null}',
        '{"check_cert_expiry": true, "check_cert_expiry": false}',
        '{"check_cert_expiry": true, "Check_cert_expiry": false}',
        '{"note": "check_cert_expiry"}',
        '{"note": "\\"check_cert_expiry\\": true"}',
        '{"inner": {"check_cert_expiry": true}}',
        '{"check_cert_expiry ": true}',
        '{"check_cert_exp\u0131ry": true}',  # the dotless i
        '{"check_cert_exp\u0130ry": true}',  # the dotted I
        '{"\u017fcheck_cert_expiry": true}',  # the long s, of which the name has none
        '{"check_cert_expiry\\u0000": true}',
        '{"check_cert_expiry\\ud800": true}',
        '{"check\\\\u005fcert_expiry": true}',
        '{"n": ' + "9" * 5000 + "}",
        '{"a": ' + "[" * 1200 + "]" * 1200 + "}",
    ],
    ids=lambda config: f"{config[:40]!r}",
)
def test_it_is_not_set(config: str) -> None:
    assert read(config) is False


NO_VALUES = [
    *("NaN", "Infinity", "-Infinity", "01", "-", "+1", ".5", "1.", "1e", "1e+", "0x1", "1_0", "tru", "undefined"),
    *("[1,]", "[,1]", "[1 2]", "[1", "[1}", "[//\n1]", '{"b"}', '{"b":}', "{1: 2}", '{"b": 1,}', '{"b": 1]', "{,}"),
    *('"', '"\t"', '"\n"', '"\0"', '"\\"', '"\\x"', '"\\u12"', '"\\u12g4"', '"\\U0041"', "'x'", '"\\u006b\\u12"'),
]
BROKEN = [
    "{",
    "}",
    "[]",
    "7",
    '"x"',
    "true",
    "nul",
    "nullx",
    " ",
    "\0",
    "[" * 100_000,
    "[" * 1_000_000,
    f"[{{{SET}}}]",
    f"{{{SET}}} x",
    f"{{{SET}}}{{}}",
    f"{{{SET}}}\0",
    f"{{{SET}}}\x0b",
    f"\ufeff{{{SET}}}",
    f"\u00a0{{{SET}}}",
    f"{{{SET},}}",
    f"{{{SET} {SET}}}",
    f"{{{SET}",
    "{check_cert_expiry: true}",
    "{'check_cert_expiry': true}",
    '{"check_cert_expiry": True}',
    '{"check_cert_expiry": "true"}',
    '{"check_cert_expiry": 1}',
    '{"check_cert_expiry": 1e999}',
    '{"check_cert_expiry": []}',
    '{"check_cert_expiry": {}}',
    '{"check_cert_expiry": {"check_cert_expiry": true}, "check_cert_expiry": true}',
    '{"check_cert_expiry": 1, "check_cert_expiry": true}',
    '{"CHECK_CERT_EXPIRY": "x", "check_cert_expiry": true}',
    '{"chec\\u006b_cert_expiry": 0}',
    *(f'{{{SET}, "a": {value}}}' for value in NO_VALUES),
    nested(10_000),
    nested(10_000, '{"a":', "}"),
    nested(9_999, inner="[]"),
    nested(1_000_000),
    f"{{{SET}, " + '"a": {' * 1_000_000,
]


@pytest.mark.parametrize("config", BROKEN, ids=lambda config: f"{config[:40]!r}")
def test_where_go_fails_an_error_is_raised_without_the_text(config: str) -> None:
    begun = time.process_time()
    with pytest.raises(ValueError, match=r"^expected|^check_cert_expiry: expected") as caught:
        read(config)
    assert time.process_time() - begun < FAST_S
    assert len(str(caught.value)) < 100


PIECES = st.sampled_from(["c", "K", "\u212a", "\\u006b", "\\u", "\\ud800", "_", '"', "\\", "\\\\", "é", "\u2028", "\n"])
TEXT = st.one_of(st.just("check_cert_expiry"), st.text(max_size=4), st.lists(PIECES, max_size=6).map("".join))
VALUE = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), TEXT),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(TEXT, inner, max_size=3)),
    max_leaves=8,
)
GARBAGE = st.sampled_from(["", "", "{", ",", "\\", '"'])


@given(st.dictionaries(TEXT, VALUE, max_size=4), st.booleans(), st.integers(0, 400), GARBAGE)
def test_the_fast_and_the_slow_path_agree(document: Any, ascii_only: bool, place: int, garbage: str) -> None:
    config = json.dumps(document, ensure_ascii=ascii_only)
    config = config[:place] + garbage + config[place:]

    def verdict(reader: Callable[[str], bool]) -> bool | str:
        try:
            return reader(config)
        except ValueError:
            return "error"

    assert verdict(read) == verdict(certificate_flag._read_carefully)


@given(st.dictionaries(TEXT, VALUE, max_size=4), st.booleans(), st.integers(0, 400), GARBAGE)
def test_large_texts_are_read_like_small_ones(document: Any, upper: bool, place: int, garbage: str) -> None:
    """Except that a large text without the name is not parsed."""
    config = json.dumps(document)
    config = config.replace("check_cert", "Check_CERT") if upper else config
    config = config[:place] + garbage + config[place:]

    def verdict(**limits: int) -> bool | str:
        with pytest.MonkeyPatch.context() as patch:
            for name, value in limits.items():
                patch.setattr(certificate_flag, name, value)
            try:
                return read(config)
            except ValueError:
                return "error"

    assert verdict(_LARGE=0) == verdict(_LARGE=0, _FEW_UNDERSCORES=-1)


LARGE = 20_000_000


@pytest.mark.parametrize(
    ("config", "flag"),
    [
        ('{"body": "' + "x" * LARGE + '"}', False),
        ('{"my_body": "' + "x" * LARGE + '"}', False),
        ("[" * LARGE, False),
        ("{" + SET + ', "body": "' + "x" * LARGE + '"}', True),
        ("{" + SET + ', "body": "' + "_" * LARGE + '"}', True),
        ("{" + SET + ', "body": "' + "_cert_" * 90_000 + "x" * LARGE + '"}', True),
        ('{"CHECK_cert_expiry": true, "body": "' + "x" * 2_000_000 + '"}', True),
        ('{"CHECK_cert_expiry": false, "check_cert_expiry": true, "body": "' + "x" * 2_000_000 + '"}', True),
        ('{"check_cert_expiry": true, "Check_cert_expiry": false, "body": "' + "x" * 2_000_000 + '"}', False),
        ("{" + SET + ', "body": "' + "\u00fc" * LARGE + '"}', True),
        ("{" + SET + ', "body": [' + "1," * LARGE + "1]}", True),
        ("{" + SET + ', "body": "' + "\\u00fc" * (LARGE // 6) + '"}', True),
        ("{" + SET + ', "body": ' + "[" * LARGE, None),
        ("{" + ", ".join([SET] * (LARGE // 30)) + "}", None),
        ("{" + SET + ', "\\u0041": [' + "[]," * 3_000_000 + "1]}", None),
        ("{" + SET + ', "\\u0041": "' + "x" * LARGE + '"}', None),
        ("{" + SET + ', "\\u0041": "' + "\\" * 10_000_000 + '"}', True),
    ],
    ids=lambda value: f"{value[:40]!r}" if isinstance(value, str) else "",
)
def test_large_texts_are_read_fast(config: str, flag: bool | None) -> None:
    """20 MB here; 200 MB take ten times as long if msgspec reads them, and no longer if it cannot."""
    begun = time.process_time()
    if flag is None:
        with pytest.raises(ValueError, match=r"^expected at most"):
            read(config)
    else:
        assert read(config) is flag
    assert time.process_time() - begun < FAST_S
