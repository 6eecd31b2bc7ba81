"""Settings come from the environment, and a wrong one is a line that names its variable."""

import json
import logging
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from aiokafka.protocol.admin import SaslAuthenticateRequest, SaslAuthenticateRequest_v1
from cryptography.hazmat.primitives import serialization

from beluga_stream import blocking, connect
from beluga_stream.bootstrap.connection import kafka
from beluga_stream.bootstrap.environment import unknown
from beluga_stream.bootstrap.settings import Settings
from beluga_stream.errors import InvalidConfig
from tests.certificates import Authority

ROOT = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def no_settings(monkeypatch: pytest.MonkeyPatch) -> None:

    for name in [name for name in os.environ if name.startswith("BELUGA_")]:
        monkeypatch.delenv(name)


def test_lists_are_separated_by_commas(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BELUGA_ROLE", "worker, ingest,worker")
    monkeypatch.setenv("BELUGA_QUEUES", "gpu,default")
    settings = Settings.load()
    assert settings.role == ("worker", "ingest")
    assert settings.queues == ("gpu", "default")


def test_a_queue_that_is_named_twice_is_one_and_none_means_all(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BELUGA_QUEUES", "gpu,gpu")
    assert Settings.load().queues == ("gpu",)
    monkeypatch.setenv("BELUGA_QUEUES", "")
    assert Settings.load().queues is None


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("BELUGA_RETENTION_HOURS", "inf", "finite number"),
        ("BELUGA_DEDUP_WINDOW_HOURS", "inf", "finite number"),
        ("BELUGA_PARTITIONS", "many", "BELUGA_PARTITIONS is wrong"),
        ("BELUGA_PARTITIONS", "0", "greater than or equal to 1"),
        ("BELUGA_BROKER_PATIENCE_SECONDS", "0", "greater than or equal to 1"),
        ("BELUGA_ROLE", "baker", "BELUGA_ROLE is wrong"),
        ("BELUGA_ROLE", " , ", "name at least one of"),
        ("BELUGA_STORE", "paper", "'memory' or 'rocksdb'"),
        ("BELUGA_PREFIX", "a b", "BELUGA_PREFIX is wrong: it may have letters, digits"),
        ("BELUGA_HTTP_ADDRESS", "8080", "BELUGA_HTTP_ADDRESS is wrong: write it as host:port (got '8080')"),
        ("BELUGA_TEMPORAL_ADDRESS", "", "write it as host:port (got '')"),
        ("BELUGA_PROBE_ADDRESS", "here", "write it as port or host:port (got 'here')"),
        ("BELUGA_LEASE_SECONDS", "4", "at least twice BELUGA_HEARTBEAT_SECONDS, which is 2.5"),
    ],
)
def test_a_wrong_value_is_one_clear_line(monkeypatch: pytest.MonkeyPatch, name: str, value: str, said: str) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(InvalidConfig) as wrong:
        Settings.load()
    assert said in str(wrong.value)
    assert "\n" not in str(wrong.value)


def test_credentials_reach_faust_and_aiokafka_alike_and_never_show(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BELUGA_SECURITY_PROTOCOL", "SASL_SSL")
    monkeypatch.setenv("BELUGA_SASL_MECHANISM", "SCRAM-SHA-256")
    monkeypatch.setenv("BELUGA_SASL_USERNAME", "ann")
    monkeypatch.setenv("BELUGA_SASL_PASSWORD", "hush-hush")
    settings = Settings.load()
    connection = kafka(settings)
    client = connection.client_settings("test")
    assert client["sasl_mechanism"] == "SCRAM-SHA-256"
    assert client["sasl_plain_password"] == "hush-hush"
    credentials = connection.faust_settings()["broker_credentials"]
    assert credentials.username == "ann"
    assert credentials.ssl_context is not None
    assert "hush-hush" not in f"{settings!r} {connection!r}"


def test_a_misspelt_variable_is_told_with_the_one_that_is_meant() -> None:
    misspelt, own = f"BELUGA_{'BROKERS'}", f"BELUGA_{'COMPANY_COLOUR'}"
    told = [
        str(each) for each in unknown({misspelt: "kafka:9092", own: "blue", "BELUGA_BROKER": "", "beluga_role": ""})
    ]
    assert told == [f"{misspelt} (is BELUGA_BROKER meant?)", own]
    assert unknown({"BROKERS": "", "BELUGA_DEBUG": "1", "BELUGA_TEST_BROKER": "jars"}) == []


@pytest.mark.parametrize(
    ("given", "told"), [("brokr", "is 'broker' meant?"), ("frobnicate", "see docs/configuration.md")]
)
def test_what_is_given_and_is_no_setting_is_refused(given: str, told: str) -> None:
    with pytest.raises(InvalidConfig, match=rf"^{given}= is no setting: {told}"):
        Settings.load(**{given: "kafka:9092"})


def test_a_gateway_says_so_in_its_log(tmp_path: Path) -> None:
    """As every process that writes a log, though other commands keep theirs to themselves."""
    misspelt = f"BELUGA_{'BROKERS'}"
    environ = os.environ | {misspelt: "kafka:9092", "BELUGA_BROKER_PATIENCE_SECONDS": "1", "BELUGA_LOG_FORMAT": "json"}
    words = [sys.executable, "-m", "beluga_stream.cli", "serve", "--broker", "127.0.0.1:1", "--address", "127.0.0.1:0"]
    done = subprocess.run(words, env=environ, cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False)
    line = json.loads(done.stderr.splitlines()[0])
    assert (line["action"], line["variable"]) == ("settings.unknown", misspelt)
    assert done.returncode == 5


def test_an_engine_whose_folder_cannot_be_one_says_so(tmp_path: Path) -> None:
    (tmp_path / "agents").mkdir()
    (tmp_path / "data").write_text("")
    words = [sys.executable, "-m", "faust", "-A", "beluga_stream", "worker"]
    environ = os.environ | {"BELUGA_DATA": "data", "PYTHONPATH": str(ROOT)}
    done = subprocess.run(words, env=environ, cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 2
    assert done.stderr == "beluga_stream does not start: BELUGA_DATA=data cannot be a folder: File exists\n"


def test_no_variable_of_this_project_is_taken_for_a_misspelt_one() -> None:
    places = [
        "Makefile",
        "docker-compose.yml",
        "Dockerfile",
        ".ci",
        "agents",
        "beluga_stream",
        "benchmarks",
        "deploy",
        "tests",
    ]
    paths = [each for place in places for each in (ROOT / place, *(ROOT / place).rglob("*")) if each.is_file()]
    texts = [each.read_text(encoding="utf-8", errors="ignore") for each in paths if "__pycache__" not in each.parts]
    named = {name for text in texts for name in re.findall(r"\bBELUGA_[A-Z0-9_]*[A-Z0-9]\b", text)}
    assert "BELUGA_BROKER" in named
    assert unknown(dict.fromkeys(named, "")) == []


def test_half_of_a_credential_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BELUGA_SECURITY_PROTOCOL", "SASL_PLAINTEXT")
    monkeypatch.setenv("BELUGA_SASL_USERNAME", "ann")
    with pytest.raises(InvalidConfig, match="needs a user name and a password"):
        kafka(Settings.load())


@pytest.mark.parametrize(
    ("given", "protocol", "said"),
    [
        ({"sasl_username": "ann", "sasl_password": "hunter2"}, "PLAINTEXT", "PLAINTEXT logs nobody in"),
        ({"sasl_username": "ann", "sasl_password": "hunter2"}, "SSL", "SSL logs nobody in"),
        ({"tls_ca": "ca.pem"}, "PLAINTEXT", "PLAINTEXT encrypts nothing"),
        (
            {"sasl_username": "ann", "sasl_password": "hunter2", "tls_cert": "me.pem"},
            "SASL_PLAINTEXT",
            "SASL_PLAINTEXT encrypts nothing",
        ),
    ],
)
def test_credentials_that_the_protocol_has_no_use_for_are_refused(
    given: dict[str, str], protocol: str, said: str
) -> None:
    with pytest.raises(InvalidConfig, match=rf"{said}: set BELUGA_SECURITY_PROTOCOL to ") as refused:
        kafka(Settings.load(security_protocol=protocol, **given))
    assert "hunter2" not in str(refused.value)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"tls_ca": "none"}, "BELUGA_TLS_CA={folder}/none cannot be used for TLS: No such file"),
        ({"tls_ca": "junk"}, "BELUGA_TLS_CA={folder}/junk cannot be used for TLS: NO_CERTIFICATE_OR_CRL_FOUND"),
        ({"tls_cert": "none"}, "BELUGA_TLS_CERT={folder}/none with BELUGA_TLS_KEY={folder}/none cannot"),
        ({"tls_cert": "me.pem", "tls_key": "you.key"}, "cannot be used for TLS: KEY_VALUES_MISMATCH"),
        ({"tls_cert": "me.pem", "tls_key": "locked.key"}, "the key is encrypted, and there is no setting"),
        ({"tls_key": "me.key"}, "set BELUGA_TLS_CERT as well"),
    ],
)
def test_a_file_that_is_no_certificate_is_told_and_not_taken_for_a_broker_that_is_away(
    tmp_path: Path, given: dict[str, str], said: str
) -> None:
    authority = Authority(tmp_path / "ca.pem")
    for name in ("me", "you"):
        authority.signs(name).written_to(tmp_path, name)
    key = serialization.load_pem_private_key((tmp_path / "me.key").read_bytes(), None)
    locked = serialization.BestAvailableEncryption(b"hush-hush")
    pem, form = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
    (tmp_path / "locked.key").write_bytes(key.private_bytes(pem, form, locked))
    (tmp_path / "junk").write_text("junk")
    files = {name: tmp_path / file for name, file in given.items()}
    with pytest.raises(InvalidConfig, match=re.escape(said.format(folder=tmp_path))):
        kafka(Settings.load(security_protocol="SSL", **files))
    own = {"tls_ca": authority.file, "tls_cert": tmp_path / "me.pem", "tls_key": tmp_path / "me.key"}
    assert kafka(Settings.load(security_protocol="SSL", **own)).uses_tls


def test_a_secret_is_not_quoted_even_when_it_is_wrong() -> None:
    for name in ("sasl_password", "encryption_keys"):
        with pytest.raises(InvalidConfig) as error:
            Settings.load(**{name: [271828]})
        assert f"BELUGA_{name.upper()} is wrong" in str(error.value)
        assert "271828" not in str(error.value)


@pytest.mark.parametrize(
    "address", ["http://ann:hunter2@gateway:1", "https://hunter2@gateway", "ann:hunter2@kafka:9092"]
)
def test_a_password_in_an_address_is_refused_unquoted(address: str) -> None:
    for made in (lambda: connect(address), lambda: blocking.connect(address), lambda: Settings.load(broker=address)):
        with pytest.raises(InvalidConfig, match="BELUGA_HTTP_TOKEN") as error:
            made()
        assert "hunter2" not in str(error.value)


def test_a_login_is_in_no_log_whatever_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    """With PLAIN the request that logs in holds the password, and aiokafka writes its requests at DEBUG."""
    said = logging.getLogger("aiokafka.conn")
    caplog.set_level(logging.DEBUG, "aiokafka.conn")
    # Wherever else its lines go by now: a process that has configured its logs keeps them from the root.
    said.addHandler(caplog.handler)
    try:
        settings = Settings.load(security_protocol="SASL_SSL", sasl_username="u", sasl_password="hunter2")
        assert "hunter2" not in repr(kafka(settings))
        said.debug(
            "Request to %s:%d %d: %s",
            "host",
            1,
            2,
            SaslAuthenticateRequest(b"\0u\0hunter2").build(SaslAuthenticateRequest_v1),
        )
        said.debug("Request to %s:%d %d: %s", "host", 1, 3, "another")
        assert "hunter2" not in caplog.text
        assert "another" in caplog.text
    finally:
        said.removeHandler(caplog.handler)
