"""What a member refuses to start with, in etcd's words; and what it starts with, but warns of."""

from __future__ import annotations

import pytest

from etcdpy.server.config import Config
from etcdpy.server.config_features import GATES
from etcdpy.server.config_kinds import ConfigError
from etcdpy.server.config_rules import UnsetAdvertiseClientUrls, advice, check, check_founding
from etcdpy.server.config_sources import load
from etcdpy.server.config_support import GATES_SUPPORTED, REFUSED, check_supported, without_effect
from etcdpy.server.config_table import FLAGS

URL = "http://127.0.0.1:12379"


def config_of(*arguments: str) -> Config:
    return load(arguments, {}, [])


def refusal(*arguments: str) -> str:
    with pytest.raises(ConfigError) as caught:
        check(config_of(*arguments))
    return str(caught.value)


def test_defaults_are_allowed() -> None:
    check(Config())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--logger=capnslog"], "--logger=capnslog is removed in v3.5"),
        (["--logger=x"], 'unknown logger option "x"'),
        (
            ["--discovery-fallback=proxy"],
            'v2 proxy is deprecated, and --discovery-fallback can\'t be configured as "proxy"',
        ),
        (
            ["--listen-peer-urls=http://example.org:1"],
            "expected IP in URL for binding (http://example.org:1)",
        ),
        (["--listen-metrics-urls=http://:1"], "expected IP in URL for binding (http://:1)"),
        (
            ["--initial-advertise-peer-urls=http://:22"],
            '--initial-advertise-peer-urls "http://:22" must be "host:port" (unexpected empty host (http://:22))',
        ),
        (
            ["--advertise-client-urls=http://:22"],
            '--advertise-client-urls "http://:22" must be in the format "host:port", '
            '"unix:/path/to/socket" or "unixs:/path/to/socket" (unexpected empty host (http://:22))',
        ),
        (
            ["--discovery-srv=x", "--initial-cluster=a=http://127.0.0.1:1"],
            'multiple discovery or bootstrap flags are set. Choose one of "initial-cluster", '
            '"discovery-endpoints" or "discovery-srv"',
        ),
        (["--discovery-token=x"], "both --discovery-token and --discovery-endpoints must be set"),
        (
            ["--discovery-token=x", "--discovery-endpoints=,"],
            "--discovery-endpoints must not contain empty endpoints",
        ),
        (["--heartbeat-interval=0"], "--heartbeat-interval must be >0 (set to 0ms)"),
        (["--election-timeout=0"], "--election-timeout must be >0 (set to 0ms)"),
        (
            ["--election-timeout=499"],
            "--election-timeout[499ms] should be at least as 5 times as --heartbeat-interval[100ms]",
        ),
        (
            ["--election-timeout=50001"],
            "--election-timeout[50001ms] is too long, and should be set less than 50000ms",
        ),
        (["--auto-compaction-mode="], "undefined auto-compaction-mode"),
        (["--auto-compaction-mode=x"], 'unknown auto-compaction-mode "x"'),
        (
            ["--auto-compaction-retention=zz"],
            'error parsing CompactionRetention: time: invalid duration "zz"',
        ),
        (
            ["--auto-compaction-retention=1.5"],
            'error parsing CompactionRetention: time: missing unit in duration "1.5"',
        ),
        (
            ["--enable-distributed-tracing", "--distributed-tracing-sampling-rate=-1"],
            "distributed tracing configurition is not valid: (tracing sampling rate must be positive)",
        ),
        (["--feature-gates=X=true"], "unrecognized feature gate: X"),
        (["--feature-gates=AllAlpha"], "missing bool value for AllAlpha"),
        (
            ["--feature-gates=LeaseCheckpointPersist=true"],
            "enabling feature gate LeaseCheckpointPersist requires enabling feature gate LeaseCheckpoint",
        ),
        (["--compact-hash-check-time=0"], "--compact-hash-check-time must be >0 (set to 0s)"),
        (["--tls-min-version=TLS1.1"], 'unexpected TLS version "TLS1.1" (must be one of: TLS1.2, TLS1.3)'),
        (
            ["--tls-min-version=TLS1.3", "--tls-max-version=TLS1.2"],
            "min version (TLS1.3) is greater than max version (TLS1.2)",
        ),
        (
            ["--tls-min-version=TLS1.3", "--cipher-suites=TLS_RSA_WITH_AES_128_CBC_SHA"],
            "cipher suites cannot be configured when only TLS1.3 is enabled",
        ),
        (["--cipher-suites=foo"], 'unexpected TLS cipher suite "foo"'),
        (["--key-file=k"], "KeyFile and CertFile must both be present[key: k, cert: ]"),
        (
            ["--peer-client-cert-file=c"],
            "ClientKeyFile and ClientCertFile must both be present[key: , cert: c]",
        ),
        (
            ["--peer-cert-allowed-cn=a,b", "--peer-cert-allowed-hostname=c"],
            "AllowedCNs and AllowedHostnames are mutually exclusive (cns=[a b], hostnames=[c])",
        ),
        (
            ["--listen-client-urls=https://127.0.0.1:9", f"--advertise-client-urls={URL}"],
            "TLS key/cert (--cert-file, --key-file) must be provided for client url https://127.0.0.1:9 "
            "with HTTPS scheme",
        ),
        (
            ["--listen-metrics-urls=https://127.0.0.1:9"],
            "client TLS key/cert (--cert-file, --key-file) must be provided for metrics secure url",
        ),
        (
            [
                f"--listen-client-urls={URL}",
                f"--listen-client-http-urls={URL}",
                f"--advertise-client-urls={URL}",
            ],
            f"cannot bind both --listen-client-urls and --listen-client-http-urls on the same url {URL}",
        ),
        (["--auth-token=foo"], "auth: invalid auth options"),
        (["--auth-token=jwt,x"], "auth: invalid auth options"),
        (["--auth-token=jwt,sign-method=none"], "auth: invalid auth options"),
        (["--auth-token=jwt,sign-method=HS256"], "auth: missing key data"),
        (["--auth-token=jwt,sign-method=RS256,pub-key=/nowhere"], "auth: invalid auth options"),
    ],
)
def test_refusals(arguments: list[str], message: str) -> None:
    assert refusal(*arguments) == message


def test_listening_elsewhere_must_be_announced() -> None:
    with pytest.raises(UnsetAdvertiseClientUrls, match="--advertise-client-urls is required when"):
        check(config_of(f"--listen-client-urls={URL}"))


@pytest.mark.parametrize("state", ["", "x"])
def test_cluster_state_from_elsewhere_than_the_flag(state: str) -> None:
    with pytest.raises(ConfigError, match=f'^unexpected clusterState "{state}"$'):
        check(Config(initial_cluster_state=state))


def other_value(name: str) -> object:
    """A value that is not the default, of the right type."""
    default = getattr(Config(), FLAGS[name].attribute)
    if isinstance(default, bool):
        return not default
    if isinstance(default, tuple):
        return ("x",)
    return default + 1 if isinstance(default, int | float) else "x"


@pytest.mark.parametrize("name", sorted(REFUSED))
def test_what_may_not_be_ignored_is_refused_by_name(name: str) -> None:
    config = Config()
    setattr(config, FLAGS[name].attribute, other_value(name))
    with pytest.raises(ConfigError, match=f"^--{name} is not supported: "):
        check_supported(config)


def test_nothing_is_without_effect_by_default() -> None:
    assert without_effect(Config()) == []


@pytest.mark.parametrize("name", sorted(GATES))
def test_gates_without_a_feature_are_named(name: str) -> None:
    switched = f"--feature-gates={name}={'false' if GATES[name].default else 'true'}"
    assert without_effect(config_of(switched)) == ([] if name in GATES_SUPPORTED else [switched])


def test_feature_gates() -> None:
    assert config_of().features == {name: gate.default for name, gate in GATES.items()}
    features = config_of("--feature-gates=AllAlpha=true, CompactHashCheck=false ,AllBeta=false").features
    assert features["LeaseCheckpoint"]
    assert not features["CompactHashCheck"]
    assert not features["TxnModeWriteWithSharedBuffer"]


@pytest.mark.parametrize(
    ("mode", "text", "retention"),
    [("periodic", "0", 0), ("periodic", "2", 7200), ("periodic", "90m", 5400), ("revision", "1000", 1000)],
)
def test_compaction_retention(mode: str, text: str, retention: float) -> None:
    config = config_of(f"--auto-compaction-mode={mode}", f"--auto-compaction-retention={text}")
    assert config.compaction_retention == retention


def test_zero_is_the_default() -> None:
    config = config_of("--snapshot-count=0", "--backend-batch-limit=0", "--backend-batch-interval=0")
    assert (config.snapshot_count, config.backend_batch_limit) == (10_000, 10_000)
    assert config.backend_batch_interval_s == 0.1


def test_founding() -> None:
    assert check_founding(config_of("--name=a")) == {"a": ("http://localhost:2380",)}
    with pytest.raises(ConfigError, match=r"^error setting up initial cluster: URL scheme must be http"):
        check_founding(config_of("--initial-cluster=a"))
    with pytest.raises(ConfigError, match=r"^initial cluster unset and no discovery endpoints found$"):
        check_founding(config_of("--initial-cluster="))


def test_advice() -> None:
    said = dict(advice(config_of("--max-request-bytes=20000000", "--quota-backend-bytes=9000000000")))
    assert said["'data-dir' was empty; using default"] == {"data-dir": "default.etcd"}
    assert "exceeded recommended request limit" in said
    assert "quota exceeds the maximum value" in said
    assert "simple token is not cryptographically signed" in said
    assert "use default bcrypt cost instead of the invalid given cost" not in said
    assert dict(advice(config_of("--bcrypt-cost=99")))[
        "use default bcrypt cost instead of the invalid given cost"
    ] == {"min-cost": 4, "max-cost": 31, "default-cost": 10, "given-cost": 99}
    assert not any("default name" in message for message, _ in advice(config_of("--name=a")))
