"""What the Kafka client says, word for word as it did say it, and what we make of it."""

import pytest
from confluent_kafka import KafkaError
from hypothesis import given
from hypothesis import strategies as st

from qd_agent.documents import KafkaSettings
from qd_agent.documents.kafka_trouble import CONNECTING, LONGEST_REASON, Troubles, read

BROKER = "kafka.example.org:9093"
PLAIN = KafkaSettings(kind="kafka", brokers=[BROKER], topics=["scans"], group="qd-agent-1")
USER = {
    "security": "sasl_ssl",
    "sasl_username": "qd",
    "sasl_password_file": "kafka.secret",
    "sasl_mechanism": "PLAIN",
}
VERIFY = (
    f"ssl://{BROKER}/bootstrap: SSL handshake failed: error:0A000086:SSL routines::certificate "
    "verify failed: broker certificate could not be verified, verify that ssl.ca.location is "
    "correctly configured or root CA certificates are installed (install ca-certificates package) "
    "(after 1ms in state SSL_HANDSHAKE)"
)
VERIFY_AGAIN = (
    f"ssl://{BROKER}/bootstrap: error:0A000086:SSL routines::certificate verify failed (after 2ms "
    "in state SSL_HANDSHAKE)"
)
NO_CERTIFICATE = (
    f"ssl://{BROKER}/bootstrap: Receive failed: error:0A00045C:SSL routines::tlsv13 alert "
    "certificate required: SSL alert number 116 (after 3ms in state APIVERSION_QUERY)"
)
STRANGE_CERTIFICATE = (
    f"ssl://{BROKER}/bootstrap: Receive failed: error:0A00041B:SSL routines::tlsv1 alert decrypt "
    "error: SSL alert number 51 (after 0ms in state APIVERSION_QUERY)"
)
OLD_TLS = (
    f"ssl://{BROKER}/bootstrap: SSL handshake failed: error:0A00042E:SSL routines::tlsv1 alert "
    "protocol version: SSL alert number 70 (after 1ms in state SSL_HANDSHAKE)"
)
NO_TLS = (
    f"ssl://{BROKER}/bootstrap: SSL handshake failed: Disconnected: connection reset by peer: "
    "connecting to a PLAINTEXT broker listener? (after 0ms in state SSL_HANDSHAKE)"
)
SILENT = (
    f"ssl://{BROKER}/bootstrap: Connection setup timed out in state SSL_HANDSHAKE (after 30028ms "
    "in state SSL_HANDSHAKE)"
)
WRONG_PASSWORD = (
    f"sasl_ssl://{BROKER}/bootstrap: SASL authentication error: Authentication failed: Invalid "
    "username or password (after 21ms in state AUTH_REQ, 5 identical error(s) suppressed)"
)
NO_SUCH_MECHANISM = (
    f"sasl_ssl://{BROKER}/bootstrap: SASL PLAIN mechanism handshake failed: Broker: Unsupported "
    "SASL mechanism: broker's supported mechanisms: SCRAM-SHA-512 (after 4ms in state "
    "AUTH_HANDSHAKE)"
)
NO_SASL = (
    f"sasl_ssl://{BROKER}/bootstrap: Failed to initialize SASL authentication: SASL Handshake not "
    "supported by broker (required by mechanism PLAIN) (after 0ms in state AUTH_LEGACY)"
)
HUNG_UP = (
    f"sasl_plaintext://{BROKER}/bootstrap: SASL PLAIN mechanism handshake failed: Local: Broker "
    "transport failure: broker's supported mechanisms: (n/a) (after 1ms in state AUTH_HANDSHAKE)"
)
NOBODY = (
    f"{BROKER}/bootstrap: Connect to ipv4#10.0.0.7:9093 failed: Connection refused (after 0ms in "
    "state CONNECT)"
)
NO_SUCH_HOST = (
    f"{BROKER}/bootstrap: Failed to resolve '{BROKER}': Name or service not known (after 0ms in "
    "state CONNECT)"
)
ENDED = (
    f"FAIL [thrd:{BROKER}/bootstrap]: {BROKER}/bootstrap: Disconnected: connection closed by peer: "
    "receive 0 after POLLIN (after 4ms in state APIVERSION_QUERY)"
)


def troubles(**settings: object) -> Troubles:
    return Troubles(
        KafkaSettings.model_validate({**PLAIN.model_dump(), **settings}),
        lambda text: text.replace("hunter2", "..."),
    )


@pytest.mark.parametrize(
    ("name", "text", "settings", "said"),
    [
        ("_SSL", VERIFY, {"security": "ssl", "tls_ca_file": "ca.pem"},
         f"refused: the certificate of {BROKER} is not made out to that host, has expired, or is "
         "not vouched for by source.tls_ca_file ca.pem"),
        ("_TRANSPORT", VERIFY_AGAIN, {"security": "ssl"},
         f"refused: the certificate of {BROKER} is not made out to that host, has expired, or is "
         "not vouched for by any CA of the system's; give source.tls_ca_file"),
        ("_TRANSPORT", NO_CERTIFICATE, {"security": "ssl"},
         f"refused: {BROKER} asks for a certificate of ours; give source.tls_certificate_file and "
         "tls_key_file (Receive failed: tlsv13 alert certificate required: SSL alert number 116)"),
        ("_TRANSPORT", STRANGE_CERTIFICATE,
         {"security": "ssl", "tls_certificate_file": "c.pem", "tls_key_file": "k.pem"},
         f"refused: {BROKER} does not accept our certificate, source.tls_certificate_file c.pem "
         "(Receive failed: tlsv1 alert decrypt error: SSL alert number 51)"),
        ("_SSL", OLD_TLS, {"security": "ssl"},
         f"refused: TLS with {BROKER} fails, see source.security and source.tls_... (SSL handshake "
         "failed: tlsv1 alert protocol version: SSL alert number 70)"),
        ("_TRANSPORT", NO_TLS, {"security": "ssl"},
         f"refused: {BROKER} does not answer to TLS; source.security is ssl: does that port speak "
         "it?"),
        ("_TIMED_OUT", SILENT, {"security": "ssl"},
         f"refused: {BROKER} does not answer to TLS; source.security is ssl: does that port speak "
         "it?"),
        ("_AUTHENTICATION", WRONG_PASSWORD, USER,
         f"refused: {BROKER} does not accept source.sasl_username qd with the password of "
         "source.sasl_password_file; correct it there and restart, or at the broker (SASL "
         "authentication error: Authentication failed: Invalid username or password)"),
        ("_AUTHENTICATION", NO_SUCH_MECHANISM, USER,
         f"refused: {BROKER} does not know source.sasl_mechanism PLAIN (SASL PLAIN mechanism "
         "handshake failed: Broker: Unsupported SASL mechanism: broker's supported mechanisms: "
         "SCRAM-SHA-512)"),
        ("_AUTHENTICATION", NO_SASL, USER,
         f"refused: {BROKER} asks for no user, but source.security is sasl_ssl (Failed to "
         "initialize SASL authentication: SASL Handshake not supported by broker (required by "
         "mechanism PLAIN))"),
        ("_AUTHENTICATION", HUNG_UP, USER,
         f"refused: {BROKER} ends our connections at once; source.security is sasl_ssl: that port "
         "may want a certificate of ours or another source.sasl_mechanism than PLAIN"),
        ("_TRANSPORT", NOBODY, {}, f"connecting: {BROKER} is not there (Connection refused)"),
        ("_RESOLVE", NO_SUCH_HOST, {},
         f"connecting: {BROKER} is no known host, see source.brokers (Failed to resolve "
         f"'{BROKER}': Name or service not known)"),
        ("TOPIC_AUTHORIZATION_FAILED", "Broker: Topic authorization failed", {},
         f"refused: we may not read scans at {BROKER} as group qd-agent-1"),
        ("GROUP_AUTHORIZATION_FAILED", "FindCoordinator response error", {},
         f"refused: we may not read scans at {BROKER} as group qd-agent-1"),
        ("UNKNOWN_TOPIC_OR_PART", "Subscribed topic not available: scans", {},
         "connecting: there is no topic scans yet"),
        ("_ALL_BROKERS_DOWN", "1/1 brokers are down", {}, CONNECTING),
        ("_MAX_POLL_EXCEEDED", "Application maximum poll interval exceeded", {}, CONNECTING),
    ],
)  # fmt: skip
def test_each_error_is_one_sentence_with_what_to_do(name, text, settings, said):
    told = troubles(**settings)
    told.hear(KafkaError(getattr(KafkaError, name), text))
    assert told.said == said
    told.hear(KafkaError(KafkaError._ALL_BROKERS_DOWN, "1/1 brokers are down"))
    assert told.said == said, "which follows each of them, and tells nothing new"
    told.forget()
    assert told.said == CONNECTING


def test_a_try_that_fails_like_the_one_before_does_not_change_the_sentence():
    told = troubles(**USER)
    said = set()
    for milliseconds in range(5):
        text = WRONG_PASSWORD.replace("21ms", f"{milliseconds}ms")
        told.hear(KafkaError(KafkaError._AUTHENTICATION, text))
        said.add(told.said)
    assert len(said) == 1


@pytest.mark.parametrize(
    ("settings", "hint"),
    [
        ({}, "source.security is plaintext: that port may want TLS (ssl) or a user (sasl_...)"),
        ({"security": "ssl"}, "that port may want a user (sasl_ssl) or a certificate of ours"),
        (
            {**USER, "security": "sasl_plaintext"},
            "that port may want TLS (sasl_ssl) or another source.sasl_mechanism than PLAIN",
        ),
    ],
)
def test_a_connection_that_just_ends_is_known_from_the_log_alone(settings, hint):
    told = troubles(**settings)
    told.hear_line(ENDED)
    assert told.said.startswith(f"refused: {BROKER} ends our connections at once; ")
    assert told.said.endswith(hint)


def test_a_connection_that_was_good_and_then_ended_is_no_refusal():
    told = troubles()
    told.hear_line(ENDED.replace("4ms in state APIVERSION_QUERY", "600000ms in state UP"))
    told.hear_line("GRPCOORD [thrd:main]: Group coordinator is kafka.example.org:9093")
    assert told.said == CONNECTING


def test_what_one_broker_refuses_is_said_before_another_that_is_away():
    told = troubles(**USER)
    told.hear(KafkaError(KafkaError._AUTHENTICATION, WRONG_PASSWORD))
    away = NOBODY.replace("kafka.", "another.")
    told.hear(KafkaError(KafkaError._TRANSPORT, away))
    assert told.said.startswith(f"refused: {BROKER} does not accept")
    told.hear(KafkaError(KafkaError._TRANSPORT, NOBODY))
    assert told.said == "connecting: another.example.org:9093 is not there (Connection refused)"


def test_an_agent_to_whom_the_group_leaves_nothing_is_told_so():
    told = troubles()
    told.hear(KafkaError(KafkaError._TRANSPORT, NOBODY))
    told.share_nothing()
    assert told.said == "connected, but other agents of the group read all"


def test_brokers_cannot_write_into_the_log_what_we_would_not():
    told = troubles(**USER)
    reason = "no \x1b[2J\n2026-11-27 [info] all is well; you sent hunter2 " + "x" * 10_000
    told.hear(KafkaError(KafkaError._AUTHENTICATION, f"sasl_ssl://{BROKER}/7: {reason}"))
    assert told.said.isprintable()
    assert "hunter2" not in told.said
    assert len(told.said) < 2 * LONGEST_REASON + len(BROKER)


HEARER = troubles()


@given(st.text())
def test_whatever_the_client_says_can_be_read(text):
    failure = read(text, PLAIN)
    assert failure.broker
    assert failure.reason.isprintable()
    assert len(failure.reason) <= LONGEST_REASON
    HEARER.hear_line(text)
