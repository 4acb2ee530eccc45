"""Replies are split wherever the pieces fall."""

import pytest

from tests.chaos.replies import ReplySplitter

REPLIES = [
    b"+OK\r\n",
    b"-ERR no\r\n",
    b":-12\r\n",
    b"$-1\r\n",
    b"$0\r\n\r\n",
    b"$9\r\n+a\r\n$3\r\nb\r\n",
    b"*-1\r\n",
    b"*0\r\n",
    b"*3\r\n*2\r\n:1\r\n*0\r\n$2\r\n\r\n\r\n*1\r\n*1\r\n$-1\r\n",
    b":7\r\n",
]


@pytest.mark.parametrize("size", [1, 2, 3, 5, 7, 11, 1000])
def test_pieces_of_any_size(size: int) -> None:
    splitter, sent, split = ReplySplitter(), b"".join(REPLIES), []
    for at in range(0, len(sent), size):
        splitter.feed(sent[at : at + size])
        while (reply := splitter.next()) is not None:
            split.append(reply)
    assert split == REPLIES


def test_a_reply_is_complete_with_its_last_byte() -> None:
    for reply in REPLIES:
        splitter = ReplySplitter()
        splitter.feed(reply[:-1])
        assert splitter.next() is None
        splitter.feed(reply[-1:])
        assert splitter.next() == reply


def test_the_rest_is_the_part_of_an_incomplete_reply() -> None:
    splitter = ReplySplitter()
    splitter.feed(b":1\r\n*2\r\n:1\r\n")
    assert splitter.next() == b":1\r\n"
    assert splitter.next() is None
    assert splitter.rest() == b"*2\r\n:1\r\n"
    splitter.feed(b":2\r\n")
    assert splitter.next() == b":2\r\n"


def test_a_malformed_reply_is_refused() -> None:
    splitter = ReplySplitter()
    splitter.feed(b"HTTP/1.1 200 OK\r\n")
    with pytest.raises(ValueError, match="HTTP"):
        splitter.next()
