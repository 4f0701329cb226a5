"""Settings: what an environment gives, and what a person is told when it is wrong."""

import pytest

from topology.kafka_config import admin, client_config
from topology.kafka_refusals import REFUSED
from topology.settings import SettingError, Settings

KAFKA = {"BOOTSTRAP_SERVERS": "kafka:9092"}


def complaint(**env: str) -> str:
    """What a person is told for this environment."""
    with pytest.raises(SettingError) as raised:
        Settings.from_env({**KAFKA, **env})
    line = str(raised.value)
    assert "\n" not in line
    return line


def test_with_brokers_alone_everything_else_has_its_usual_value() -> None:
    """BOOTSTRAP_SERVERS is the one setting that a process can't do without."""
    settings = Settings.from_env(KAFKA)
    assert settings.consumer_group == "automations-consumer"
    assert settings.actions_group == "automations-actions"
    assert (settings.session_timeout_ms, settings.transaction_timeout_ms) == (10_000, 15_000)
    assert (settings.commit_interval_ms, settings.grace_ms, settings.clock_tolerance_ms) == (
        100,
        10_000,
        10_000,
    )
    assert settings.late_ms == 172_800_000
    assert (settings.first_start, settings.partitioner) == ("now", "murmur2")
    assert (settings.http_port, settings.api_port) == (9108, 8080)
    assert settings.replication is None
    assert settings.instance_id is None


def test_missing_brokers_are_named_with_the_form_they_have() -> None:
    """The line says which variable, and what to write there."""
    with pytest.raises(SettingError, match=r"^BOOTSTRAP_SERVERS is not set: .*host:port"):
        Settings.from_env({"BOOTSTRAP_SERVERS": "  "})


def test_an_empty_value_is_as_good_as_none() -> None:
    """A chart may leave a value empty: the usual one holds, and an empty INSTANCE_ID is no static member."""
    settings = Settings.from_env({**KAFKA, "GRACE_MS": "", "INSTANCE_ID": "", "UI_BASE_URL": " "})
    assert settings.grace_ms == 10_000
    assert settings.instance_id is None
    assert settings.ui_base_url is None


def test_lists_are_separated_by_commas() -> None:
    """Blanks around the items don't count."""
    settings = Settings.from_env(
        {**KAFKA, "FINISHED_STATES": "Done, Archived,", "EGRESS_ALLOW": "10.0.0.0/8, Hooks.internal,::1"}
    )
    assert settings.finished_states == ("Done", "Archived")
    assert settings.egress_allow == ("10.0.0.0/8", "hooks.internal", "::1")


def test_topics_take_the_prefix() -> None:
    """Everything is named under it."""
    assert Settings.from_env({**KAFKA, "TOPIC_PREFIX": "prod-"}).topic("automations") == "prod-automations"


def test_each_topic_has_its_own_partitions_and_retention() -> None:
    """<TOPIC>_PARTITIONS and <TOPIC>_RETENTION_MS."""
    settings = Settings.from_env(
        {**KAFKA, "FLOW_RUN_STATE_PARTITIONS": "64", "AUTOMATION_EVENTS_DLQ_RETENTION_MS": "-1"}
    )
    assert settings.partitions_of("flow-run-state") == 64
    assert settings.partitions_of("agent-heartbeat") == 1
    assert settings.partitions_of("automation-events") == 6
    assert settings.retention_of("automation-events-dlq") == -1
    assert settings.retention_of("flow-run-state") == 604_800_000


@pytest.mark.parametrize(
    ("variable", "value", "told"),
    [
        ("GRACE_MS", "10s", "GRACE_MS=10s: must be a whole number"),
        ("GRACE_MS", "-1", "GRACE_MS=-1: must be at least 0"),
        ("HTTP_PORT", "70000", "HTTP_PORT=70000: must be at most 65535"),
        ("HTTP_PORT", "tcp://10.0.0.1:80", "enableServiceLinks"),
        ("PARTITIONER", "random", "PARTITIONER=random: must be 'murmur2' or 'crc32'"),
        ("FIRST_START", "yesterday", "FIRST_START=yesterday: must be 'now' or 'beginning'"),
        ("SMTP_STARTTLS", "perhaps", "SMTP_STARTTLS=perhaps: must be true or false"),
        ("UI_BASE_URL", "example.org", "UI_BASE_URL=example.org: must be an address"),
        ("EGRESS_ALLOW", "https://hooks.internal/", "neither a host nor a CIDR"),
        ("EGRESS_ALLOW", "10.0.0.1/8", "beyond its mask"),
        ("TOPIC_PREFIX", "a b", "TOPIC_PREFIX=a b: may hold letters"),
        ("MAX_ATTEMPTS", "0", "MAX_ATTEMPTS=0: must be at least 1"),
        ("AUTOMATIONS_PARTITIONS", "3", "AUTOMATIONS_PARTITIONS=3: automations has exactly 1 partition"),
        ("FLOW_RUN_STATE_PARTITIONS", "many", "FLOW_RUN_STATE_PARTITIONS=many: must be a whole number"),
        ("AUTOMATIONS_RETENTION_MS", "900000", "AUTOMATIONS_RETENTION_MS=900000: automations is compacted"),
        (
            "COMMIT_INTERVAL_MS",
            "5000",
            "SESSION_TIMEOUT_MS=10000 is less than three times COMMIT_INTERVAL_MS",
        ),
        ("ACTIONS_GROUP", "automations-consumer", "each service has its own"),
        ("EMAIL_FROM", "ops", "EMAIL_FROM=ops: must be an address such as ops@example.com"),
        ("DESTINATION_CONCURRENCY", "0", "DESTINATION_CONCURRENCY=0: must be at least 1"),
        ("DESTINATION_CONCURRENCY", "257", "DESTINATION_CONCURRENCY=257: must be at most 256"),
        ("DESTINATION_RATE", "-1", "DESTINATION_RATE=-1: must be at least 0"),
        ("DESTINATION_RATE", "nan", "DESTINATION_RATE=nan: must be a number"),
        ("DESTINATION_RATE", "fast", "DESTINATION_RATE=fast: must be a number"),
        ("TLS_KEY_FILE", "key.pem", "TLS_KEY_FILE is set but TLS_CERT_FILE is not"),
        ("SMTP_USERNAME", "lab", "SMTP_USERNAME is set but SMTP_PASSWORD_SECRET is not"),
    ],
)
def test_a_wrong_value_is_told_in_one_line_with_the_remedy(variable: str, value: str, told: str) -> None:
    """The variable, what it holds, and what it must be."""
    assert told in complaint(**{variable: value})


def test_a_mail_password_is_not_sent_as_plain_text_to_another_host() -> None:
    """Without STARTTLS only to this host, or on the port that is encrypted from the first byte."""
    env = {"SMTP_STARTTLS": "false", "SMTP_USERNAME": "lab", "SMTP_PASSWORD_SECRET": "MAIL"}
    assert "as plain text" in complaint(**env, SMTP_HOST="mail.example.com")
    for host in ("localhost", "127.0.0.1", "::1"):
        Settings.from_env({**KAFKA, **env, "SMTP_HOST": host})
    Settings.from_env({**KAFKA, **env, "SMTP_HOST": "mail.example.com", "SMTP_PORT": "465"})


def test_a_destination_s_limits_and_the_sender_s_address_have_these_forms() -> None:
    assert Settings.from_env(KAFKA).destination_concurrency == 8
    assert Settings.from_env(KAFKA).destination_rate == 0
    settings = Settings.from_env({**KAFKA, "DESTINATION_RATE": "0.5", "EMAIL_FROM": "Flow Alerts <ops@example.com>"})
    assert settings.destination_rate == 0.5
    assert settings.email_from == "Flow Alerts <ops@example.com>"


@pytest.mark.parametrize("name", sorted(REFUSED))
def test_kafka_settings_that_would_break_a_promise_are_refused_with_the_reason(name: str) -> None:
    """Nobody loses exactly-once by a line in a chart."""
    variable = "KAFKA_CONFIG_" + name.upper().replace(".", "_")
    line = complaint(**{variable: "x"})
    assert line.startswith(f"{variable} ({name}) can't be set: ")
    assert REFUSED[name] in line


def test_other_kafka_settings_reach_every_client() -> None:
    """Dots are written as underscores; librdkafka's own underscores stay."""
    settings = Settings.from_env({**KAFKA, "KAFKA_CONFIG_SECURITY_PROTOCOL": "SSL", "KAFKA_CONFIG_SSL_CA": "pem"})
    config = client_config(settings)
    assert config["bootstrap.servers"] == "kafka:9092"
    assert config["security.protocol"] == "SSL"
    assert config["ssl_ca"] == "pem"


def test_a_kafka_setting_that_librdkafka_does_not_know_is_named_without_its_value() -> None:
    """A typo is found at start, and a password in it isn't printed."""
    settings = Settings.from_env({**KAFKA, "KAFKA_CONFIG_SASL_PASWORD": "hunter2"})
    with pytest.raises(SettingError) as raised:
        admin(settings)
    assert "KAFKA_CONFIG_SASL_PASWORD" in str(raised.value)
    assert "hunter2" not in str(raised.value)


def test_secrets_are_never_shown() -> None:
    """Neither when settings are printed, nor in what is told about a wrong one."""
    settings = Settings.from_env(
        {
            **KAFKA,
            "SECRET_SLACK": "hunter2",
            "SECRETS_KEY": "hunter2",
            "KAFKA_CONFIG_SASL_PASSWORD": "hunter2",
            "SCHEMA_REGISTRY_URL": "https://user:hunter2@registry:8081",
        }
    )
    assert "hunter2" not in repr(settings)
    assert "hunter2" not in str(settings)
    assert settings.secret_env["SLACK"].get_secret_value() == "hunter2"
    assert "hunter2" not in complaint(SCHEMA_REGISTRY_URL="ftp://user:hunter2@registry")
    assert "hunter2!" not in complaint(SMTP_PASSWORD_SECRET="hunter2!")
    assert complaint(PREFECT_API_URL="ftp://user:hunter2@prefect").count("hunter2") == 0


def test_settings_cannot_be_changed_or_misspelt_in_code() -> None:
    """A process has one set of settings from its start to its end."""
    settings = Settings.from_env(KAFKA)
    with pytest.raises(ValueError, match="frozen"):
        settings.grace_ms = 0
    with pytest.raises(ValueError, match="Extra inputs"):
        Settings(bootstrap_servers="kafka:9092", grace=0)  # type: ignore[call-arg]


def test_a_password_in_a_malformed_address_is_not_shown() -> None:
    with pytest.raises(SettingError) as caught:
        Settings.from_env({"BOOTSTRAP_SERVERS": "localhost:9092", "SCHEMA_REGISTRY_URL": "user:canary-123@host"})
    assert "SCHEMA_REGISTRY_URL" in str(caught.value)
    assert "canary-123" not in str(caught.value)
