"""Settings: where a value comes from, what is refused, and what the clients are given."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from deploy.local import stack as local_stack
from deploy.settings import Settings, SettingsError, load_settings

CLUSTER = {"kafka_bootstrap": "broker:9093", "registry_url": "https://registry:8081"}


@pytest.fixture
def config_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "own.toml"
    monkeypatch.setenv("MANDATE_CONFIG", str(path))
    return path


@pytest.fixture
def pem(tmp_path: Path) -> Path:
    path = tmp_path / "some.pem"
    path.write_text("pem")
    return path


def test_environment_wins_over_file_and_file_over_default(config_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config_file.write_text('partitions = 7\ntick_interval_s = 2.5\ndata_dir = "elsewhere"\n')
    monkeypatch.setenv("MANDATE_PARTITIONS", "9")
    settings = load_settings()
    assert (settings.partitions, settings.tick_interval_s, settings.replication_factor) == (9, 2.5, 1)
    assert load_settings(partitions=11).partitions == 11


def test_file_in_the_working_directory_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MANDATE_CONFIG")
    monkeypatch.chdir(tmp_path)
    Path("mandate.toml").write_text("partitions = 6\n")
    assert load_settings().partitions == 6


def test_places_follow_the_data_directory_unless_named() -> None:
    settings = load_settings(data_dir="d", lake_dir="l")
    assert settings.crm_url == "sqlite:///d/crm.sqlite"
    assert settings.lake_catalog_url == "sqlite:///l/catalog.sqlite"
    assert settings.signing_key_path == Path("d/keys/signing.pem")
    assert load_settings().lake_dir == Path("var/lake")


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ({"partitions": 0}, "partitions"),
        ({"partitions": "many"}, "'many'"),
        ({"session_timeout_s": 1}, "session_timeout_s"),
        ({"standby_replicas": -1}, "standby_replicas"),
        ({"clock": "wall"}, "'system' or 'driven'"),
        ({"kafka_port": 70000}, "kafka_port"),
        ({"kafka_bootstrap": "b:1"}, "registry_url"),
        ({"registry_url": "http://r"}, "kafka_bootstrap"),
        ({"kafka_security_protocol": "SSL"}, "kafka_bootstrap"),
        ({**CLUSTER, "kafka_security_protocol": "SASL_SSL"}, "kafka_sasl_username"),
        ({**CLUSTER, "kafka_ssl_ca_location": "/no/such.pem"}, "no file /no/such.pem"),
        ({**CLUSTER, "registry_username": "u"}, "registry_password"),
        ({"partitons": 4}, "There is no setting partitons"),
    ],
)
def test_a_wrong_value_is_told_in_one_sentence(wrong: dict[str, Any], told: str) -> None:
    with pytest.raises(SettingsError) as refused:
        load_settings(**wrong)
    assert told in str(refused.value)
    assert "\n" not in str(refused.value)


def test_the_variable_that_is_wrong_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MANDATE_TICK_INTERVAL_S", "soon")
    with pytest.raises(SettingsError, match=r"MANDATE_TICK_INTERVAL_S.*'soon'"):
        load_settings()


def test_a_password_is_never_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = load_settings(**CLUSTER, registry_username="u", registry_password="hush")
    assert "hush" not in repr(settings)
    with pytest.raises(SettingsError) as refused:
        load_settings(**CLUSTER, kafka_sasl_password=["hush"])
    assert "hush" not in str(refused.value)


@pytest.mark.parametrize("text", ["partitions = ", "partitons = 3"])
def test_a_broken_or_misspelt_file_is_refused(config_file: Path, text: str) -> None:
    config_file.write_text(text)
    with pytest.raises(SettingsError, match=r"own\.toml"):
        load_settings()


def test_a_named_file_must_exist(config_file: Path) -> None:
    assert not config_file.exists()
    with pytest.raises(SettingsError, match="not a file"):
        load_settings()


def test_plain_cluster_gives_address_and_protocol_only() -> None:
    settings = load_settings(**CLUSTER)
    assert settings.client_config() == {"bootstrap.servers": "broker:9093", "security.protocol": "PLAINTEXT"}
    assert settings.registry_config() == {"url": "https://registry:8081"}


def test_mutual_tls_reaches_the_clients(pem: Path) -> None:
    settings = load_settings(
        **CLUSTER,
        kafka_security_protocol="SSL",
        kafka_ssl_ca_location=pem,
        kafka_ssl_certificate_location=pem,
        kafka_ssl_key_location=pem,
        registry_ssl_ca_location=pem,
    )
    assert settings.client_config() == {
        "bootstrap.servers": "broker:9093",
        "security.protocol": "SSL",
        "ssl.ca.location": str(pem),
        "ssl.certificate.location": str(pem),
        "ssl.key.location": str(pem),
    }
    assert settings.registry_config()["ssl.ca.location"] == str(pem)


def test_sasl_and_basic_authentication_reach_the_clients() -> None:
    settings = load_settings(
        **CLUSTER,
        kafka_security_protocol="SASL_SSL",
        kafka_sasl_mechanism="SCRAM-SHA-512",
        kafka_sasl_username="mandate",
        kafka_sasl_password="p:w",
        registry_username="reader",
        registry_password="r:w",
    )
    assert settings.client_config() == {
        "bootstrap.servers": "broker:9093",
        "security.protocol": "SASL_SSL",
        "sasl.mechanism": "SCRAM-SHA-512",
        "sasl.username": "mandate",
        "sasl.password": "p:w",
    }
    assert settings.registry_config()["basic.auth.user.info"] == "reader:r:w"


def test_librdkafka_accepts_what_the_settings_give() -> None:
    from confluent_kafka import Consumer

    settings = load_settings(
        **CLUSTER, kafka_security_protocol="SASL_SSL", kafka_sasl_username="u", kafka_sasl_password="p"
    )
    Consumer({**settings.client_config(), "group.id": "g", "log_level": 0}).close()


def test_a_cluster_of_ones_own_means_nothing_local(tmp_path: Path) -> None:
    settings = load_settings(**CLUSTER, data_dir=tmp_path / "d", cache_dir=tmp_path / "c")
    assert not settings.is_local
    running = local_stack.start(settings)
    assert running == local_stack.Stack("broker:9093", "https://registry:8081", started=False)
    assert not local_stack.stop(settings)
    assert list(tmp_path.iterdir()) == []


def test_settings_survive_the_way_through_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = load_settings(
        **CLUSTER, clock="driven", registry_username="u", registry_password="p", kafka_port=0, data_dir="x"
    )
    for name, value in settings.to_env().items():
        monkeypatch.setenv(name, value)
    assert load_settings() == settings


def test_every_field_is_documented() -> None:
    assert [name for name, field in Settings.model_fields.items() if not field.description] == []
