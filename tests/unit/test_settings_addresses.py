"""Hosts and ports in settings and URLs; IPv6 with and without brackets."""

import pytest

from peekaping_producer.settings.addresses import host, host_port
from peekaping_producer.targets import DatabaseTarget, RedisTarget
from tests.kit.settings_loading import PARTS, load, problems

SIX = ["::1", "[::1]"]


@pytest.mark.parametrize("six", SIX)
def test_every_setting_has_ipv6_in_both_forms(six: str) -> None:
    assert load({"redis"}, REDIS_HOST=six).redis_target().host == "::1"
    assert load({"redis"}, REDIS_URL=f"redis://:pw@{six}:26380/1").redis_target().port == 26380
    assert load({"redis"}, REDIS_URL=f"redis://{six}/1").redis_target().host == "::1"
    for db_type in ("postgres", "mysql", "mongo"):
        target = load({"database"}, **PARTS | {"DB_HOST": six, "DB_TYPE": db_type}).database_target()
        assert (target.host, target.port) == ("::1", 5432)
    for scheme in ("postgres", "mysql", "mongodb"):
        target = load({"database"}, DATABASE_URL=f"{scheme}://u:p@{six}:54321/n").database_target()
        assert (target.host, target.port) == ("::1", 54321)
    sentinels = {"REDIS_SENTINELS": f"{six}:26380,{six}, h2", "REDIS_SENTINEL_MASTER": "m"}
    for environ in (sentinels, {"REDIS_URL": f"redis+sentinel://{six}:26380,{six},h2/m"}):
        found = load({"redis"}, **environ).redis_target().sentinels
        assert found is not None
        assert found.addresses == (("::1", 26380), ("::1", 26379), ("h2", 26379))
    assert load({"service"}, METRICS_ADDR=f"{six}:9464").metrics_address == ("::1", 9464)


def test_the_zone_of_an_ipv6_address_is_kept() -> None:
    for url in ("redis://[fe80::1%25eth0]:6379", "redis://[fe80::1%eth0]:6379"):
        assert load({"redis"}, REDIS_URL=url).redis_target().host == "fe80::1%eth0"


def test_seeds_of_mongodb_keep_brackets() -> None:
    seeds = load({"database"}, **PARTS | {"DB_TYPE": "mongo", "DB_HOST": "h1:1, [::2]:2,::3"}).database_target()
    assert (seeds.host, seeds.port) == ("h1:1,[::2]:2,[::3]", 5432)
    by_url = load({"database"}, DATABASE_URL="mongodb://h1:1,[::2],[::3]:7/n").database_target()
    assert (by_url.host, by_url.port) == ("h1:1,[::2],[::3]", 7)


def test_targets_show_ipv6_in_brackets() -> None:
    assert str(RedisTarget(host="::1", port=6379)) == "redis://[::1]:6379/0"
    assert str(DatabaseTarget(dialect="mysql", name="n", host="::1", port=1)) == "mysql://[::1]:1/n"
    assert str(DatabaseTarget(dialect="mongo", name="n", host="h:1,[::1]", port=1)) == "mongo://h:1,[::1]:1/n"


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("h:1", ("h", 1)),
        ("h", ("h", 7)),
        ("h:", ("h", 7)),
        ("::1:26379", ("::1", 26379)),
        ("::ffff:10.0.0.1:6379", ("::ffff:10.0.0.1", 6379)),
        ("fe80::1:2", ("fe80::1:2", 7)),
        ("2001:db8:0:0:0:0:0:1234", ("2001:db8:0:0:0:0:0:1234", 7)),
    ],
)
def test_host_and_port(text: str, address: tuple[str, int]) -> None:
    assert host_port(text, 7) == address


@pytest.mark.parametrize(
    "text", [":1", *["h:x", "h:-1", "h:65536", "h:1:2", "[h]:1", "[::1", "::1]", "h/1", "::1:6379"]]
)
def test_malformed_addresses(text: str) -> None:
    [problem] = problems({"redis"}, REDIS_SENTINELS=text, REDIS_SENTINEL_MASTER="m")
    assert problem.startswith("REDIS_SENTINELS: expected host:port,host:port")


@pytest.mark.parametrize(
    "text", ["a..b", "x" * 64, ".a", "a b", "a/b", "h:1", "[h]", "[::1]:1", "a,b", "a;b", "(a)", "a'"]
)
@pytest.mark.parametrize("name", ["DB_HOST", "REDIS_HOST"])
def test_an_impossible_host_is_one_problem(name: str, text: str) -> None:
    [problem] = problems(**PARTS | {name: text})
    assert problem.startswith(f"{name}: expected ")
    assert "host name or address" in problem


def test_a_port_in_the_host_is_explained() -> None:
    [problem] = problems({"redis"}, REDIS_HOST="cache:6379")
    assert problem.endswith("(the port is a setting of its own)")


@pytest.mark.parametrize(
    "text", ["db", "db.example.", "my_db", "10.0.0.1", "dätenbank.example", "xn--dtenbank-0za.example"]
)
def test_hosts(text: str) -> None:
    assert host(text) == text


@pytest.mark.parametrize("name", ["DB_HOST", "REDIS_HOST"])
def test_an_address_that_may_end_in_a_port_draws_a_warning(name: str) -> None:
    [warning] = load(**PARTS | {name: "::1:5499"}).warnings
    port = name.replace("HOST", "PORT")
    assert warning.startswith(f"{name}: got '::1:5499', which is read as an address without a port")
    assert f"set {port}=5499; otherwise write [::1:5499]" in warning
    for plain in ("[::1:5499]", "::1", "fd00::5499", "2001:db8::1:abcd", "1:2:3:4:5:6:7:5499"):
        assert load(**PARTS | {name: plain}).warnings == ()


def test_a_port_that_cannot_be_part_of_the_address_is_explained() -> None:
    [problem] = problems({"redis"}, REDIS_HOST="::1:16379")
    assert problem.endswith("(the port is a setting of its own)")
