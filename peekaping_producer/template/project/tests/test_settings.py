import pytest

from src.settings import Settings, SettingsError, load_settings

COMPLETE = {"DEBUG": "0", "WAITRESS_HOST": "127.0.0.1", "WAITRESS_PORT": "8000"}


@pytest.mark.parametrize(("value", "is_debug"), [("1", True), ("0", False), ("true", False)])
def test_only_1_switches_debug_on(value: str, is_debug: bool) -> None:
    assert load_settings(COMPLETE | {"DEBUG": value}) == Settings(is_debug, "127.0.0.1", 8000)


def test_every_missing_variable_is_reported_at_once() -> None:
    with pytest.raises(SettingsError) as raised:
        load_settings({"WAITRESS_HOST": ""})
    assert [line.partition(":")[0] for line in str(raised.value).splitlines()] == list(COMPLETE)


@pytest.mark.parametrize("port", ["x", "0", "65536", "-1", "٣"])
def test_a_wrong_port_is_reported(port: str) -> None:
    with pytest.raises(SettingsError, match="WAITRESS_PORT: expected a port"):
        load_settings(COMPLETE | {"WAITRESS_PORT": port})
