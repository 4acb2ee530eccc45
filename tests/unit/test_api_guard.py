"""Who may send messages to the HTTP API, and how many."""

from functools import partial

import pytest
from aiohttp import web
from aiohttp.test_utils import make_mocked_request

from peekaping_producer.api import guard
from peekaping_producer.api.guard import Guard, RateLimiter
from peekaping_producer.web.refusals import RequestError
from tests.kit.api import running_api


async def test_with_a_token_only_those_that_send_it_produce_messages() -> None:
    async with running_api(token="s3cret é") as api:
        body = {"id": "a", "payload": 1}
        status, answer, headers = await api.post("/produce", body)
        assert (status, headers["WWW-Authenticate"]) == (401, "Bearer")
        assert (await api.post("/produce", body, Authorization="Bearer s3cret"))[0] == 401
        assert (await api.post("/produce", body, Authorization="s3cret é"))[0] == 401
        assert not api.publisher.messages
        assert (await api.post("/produce", body, Authorization="Bearer s3cret é"))[0] == 200
        assert (await api.get("/health"))[0] == 200
        assert "s3cret" not in str(answer)


async def test_over_the_rate_limit_requests_are_429(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(guard, "RateLimiter", partial(RateLimiter, clock=lambda: 100.0))
    async with running_api(rate_limit=1) as api:
        assert (await api.post("/produce", {"id": "a", "payload": 1}))[0] == 200
        status, _, headers = await api.post("/produce", {"id": "b", "payload": 1})
        assert (status, headers["Retry-After"]) == (429, "1")
        assert (await api.get("/health"))[0] == 200
    assert [message.id for message in api.publisher.messages] == ["a"]


def test_the_addresses_of_one_ipv6_network_are_one_client() -> None:
    checks = Guard(token=None, rate_limit=1, max_bytes=100)

    def request_from(address: str) -> web.BaseRequest:
        return make_mocked_request("POST", "/produce", headers={"Content-Type": "application/json"}).clone(
            remote=address
        )

    checks.check(request_from("2001:db8::1"))
    checks.check(request_from("2001:db8:0:1::1"))
    with pytest.raises(RequestError) as caught:
        checks.check(request_from("2001:db8::2"))
    assert caught.value.status == 429


def test_the_rate_is_limited_for_each_client() -> None:
    now = 100.0
    limiter = RateLimiter(10, lambda: now)
    assert [limiter.wait_s("a") for _ in range(10)] == [0.0] * 10
    assert limiter.wait_s("a") == pytest.approx(0.1)
    assert limiter.wait_s("b") == 0.0
    now += 0.1
    assert limiter.wait_s("a") == 0.0
    assert limiter.wait_s("a") == pytest.approx(0.1)
    now += 60
    assert limiter.wait_s("c") == 0.0
    assert list(limiter._due) == ["c"]
