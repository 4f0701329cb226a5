"""What is said when the brokers refuse: which refusals need a person, and what that person is told."""

import pytest
from confluent_kafka import KafkaError

from topology.access import AccessDenied, is_denial, shut_out
from topology.rights import Right

REFUSED = "sasl_ssl://k:9094/bootstrap: SASL authentication error: Authentication failed (after 5ms in state AUTH_REQ)"
UNTRUSTED = "sasl_ssl://k:9094/bootstrap: SSL handshake failed: certificate verify failed (after 5ms in state X)"


def error(code: int, said: str) -> KafkaError:
    return KafkaError(code, said)


def test_a_refused_user_is_told_with_the_settings_to_look_at() -> None:
    told = shut_out("k:9094", [error(KafkaError._AUTHENTICATION, REFUSED), error(KafkaError._ALL_BROKERS_DOWN, "down")])
    assert str(told).startswith("BOOTSTRAP_SERVERS=k:9094: sasl_ssl://k:9094/bootstrap: SASL authentication error")
    assert "KAFKA_CONFIG_SASL_USERNAME" in str(told)
    assert "after 5ms" not in str(told)


def test_a_certificate_that_is_not_trusted_is_told_with_the_settings_to_look_at() -> None:
    told = shut_out("k:9094", [error(KafkaError._SSL, UNTRUSTED)])
    assert "certificate verify failed: check KAFKA_CONFIG_SSL_CA_LOCATION" in str(told)


@pytest.mark.parametrize(
    ("code", "said"),
    [
        (KafkaError._TRANSPORT, "Connect to ipv4#10.0.0.1:9094 failed: Connection refused"),
        (KafkaError._AUTHENTICATION, "SASL authentication error: SaslAuthenticateRequest failed: Local: Timed out"),
        (KafkaError._AUTHENTICATION, "Failed to acquire SASL OAUTHBEARER token: connection refused"),
        (KafkaError._SSL, "SSL handshake failed: unexpected eof while reading"),
        (KafkaError._ALL_BROKERS_DOWN, "3/3 brokers are down"),
    ],
)
def test_brokers_that_are_merely_away_have_refused_nobody(code: int, said: str) -> None:
    assert shut_out("k:9094", [error(code, said)]) is None


def test_a_missing_right_is_told_with_what_is_needed_of_its_kind() -> None:
    needed = [Right("Topic", "t", "Read"), Right("Group", "g", "Read")]
    told = AccessDenied.told(error(KafkaError.GROUP_AUTHORIZATION_FAILED, "JoinGroup failed."), needed)
    assert str(told).startswith("GROUP_AUTHORIZATION_FAILED: JoinGroup failed: the user")
    assert "(needed: Read on Group g): grant it; `automations topology rights`" in str(told)


def test_only_missing_rights_are_denials() -> None:
    assert is_denial(error(KafkaError.CLUSTER_AUTHORIZATION_FAILED, ""))
    assert not is_denial(error(KafkaError._AUTHENTICATION, ""))
    assert not is_denial(TimeoutError())
