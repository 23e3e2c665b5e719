"""Every flag of etcd 3.6: taken from the command line and from a variable; and none without its meaning,
unless there is a reason. Files have their own tests in `test_cli_sources.py`.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from etcdpy.server.config import Config
from etcdpy.server.config_kinds import ConfigError
from etcdpy.server.config_legacy import GATED, IGNORED, RENAMED
from etcdpy.server.config_sources import VersionWanted, all_names, load, variable_of
from etcdpy.server.config_support import REFUSED, check_supported
from etcdpy.server.config_table import FLAGS
from tests.conftest import ROOT

VALUES = {
    "name": "x",
    "data-dir": "x",
    "wal-dir": "x",
    "snapshot-count": "7",
    "snapshot-catchup-entries": "7",
    "heartbeat-interval": "70",
    "election-timeout": "700",
    "initial-election-tick-advance": "false",
    "listen-peer-urls": "http://127.0.0.1:9",
    "listen-client-urls": "http://127.0.0.1:9",
    "listen-client-http-urls": "http://127.0.0.1:9",
    "max-snapshots": "7",
    "max-wals": "7",
    "memory-mlock": "true",
    "quota-backend-bytes": "7",
    "backend-bbolt-freelist-type": "array",
    "backend-batch-interval": "7s",
    "backend-batch-limit": "7",
    "max-txn-ops": "7",
    "max-request-bytes": "7",
    "max-concurrent-streams": "7",
    "grpc-keepalive-min-time": "7s",
    "grpc-keepalive-interval": "7s",
    "grpc-keepalive-timeout": "7s",
    "socket-reuse-port": "true",
    "socket-reuse-address": "true",
    "raft-read-timeout": "7s",
    "raft-write-timeout": "7s",
    "enable-grpc-gateway": "false",
    "feature-gates": "AllBeta=false",
    "initial-advertise-peer-urls": "http://127.0.0.1:9",
    "advertise-client-urls": "http://127.0.0.1:9",
    "initial-cluster": "a=http://127.0.0.1:9",
    "initial-cluster-state": "existing",
    "initial-cluster-token": "x",
    "discovery-endpoints": "http://127.0.0.1:9",
    "discovery-token": "x",
    "discovery-dial-timeout": "7s",
    "discovery-request-timeout": "7s",
    "discovery-keepalive-time": "7s",
    "discovery-keepalive-timeout": "7s",
    "discovery-insecure-transport": "false",
    "discovery-insecure-skip-tls-verify": "true",
    "discovery-cert": "x",
    "discovery-key": "x",
    "discovery-cacert": "x",
    "discovery-user": "x",
    "discovery-password": "x",
    "discovery-srv": "x",
    "discovery-srv-name": "x",
    "discovery": "x",
    "discovery-proxy": "x",
    "discovery-fallback": "proxy",
    "strict-reconfig-check": "false",
    "pre-vote": "false",
    "auto-compaction-mode": "revision",
    "auto-compaction-retention": "7",
    "v2-deprecation": "gone",
    "cert-file": "x",
    "key-file": "x",
    "client-cert-file": "x",
    "client-key-file": "x",
    "client-cert-auth": "true",
    "client-crl-file": "x",
    "client-cert-allowed-hostname": "x",
    "trusted-ca-file": "x",
    "auto-tls": "true",
    "peer-cert-file": "x",
    "peer-key-file": "x",
    "peer-client-cert-file": "x",
    "peer-client-key-file": "x",
    "peer-client-cert-auth": "true",
    "peer-trusted-ca-file": "x",
    "peer-auto-tls": "true",
    "peer-crl-file": "x",
    "peer-cert-allowed-cn": "x",
    "peer-cert-allowed-hostname": "x",
    "peer-skip-client-san-verification": "true",
    "self-signed-cert-validity": "7",
    "cipher-suites": "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256",
    "tls-min-version": "TLS1.3",
    "tls-max-version": "TLS1.3",
    "cors": "http://a.example:80",
    "host-whitelist": "x",
    "auth-token": "jwt",
    "bcrypt-cost": "7",
    "auth-token-ttl": "7",
    "enable-pprof": "true",
    "metrics": "extensive",
    "listen-metrics-urls": "http://127.0.0.1:9",
    "logger": "x",
    "log-outputs": "stdout",
    "log-level": "debug",
    "log-format": "console",
    "enable-log-rotation": "true",
    "log-rotation-config-json": '{"maxsize": 7}',
    "warning-apply-duration": "7s",
    "warning-unary-request-duration": "7s",
    "enable-distributed-tracing": "true",
    "distributed-tracing-address": "x",
    "distributed-tracing-service-name": "x",
    "distributed-tracing-instance-id": "x",
    "distributed-tracing-sampling-rate": "7",
    "corrupt-check-time": "7s",
    "compact-hash-check-time": "7s",
    "compaction-batch-limit": "7",
    "compaction-sleep-interval": "7s",
    "watch-progress-notify-interval": "7s",
    "downgrade-check-time": "7s",
    "bootstrap-defrag-threshold-megabytes": "7",
    "max-learners": "7",
    "unsafe-no-fsync": "true",
    "force-new-cluster": "true",
}
"""A value for each that is not its default. `config-file` and `version` are no settings."""
OLD = (
    *("cluster-active-size", "cluster-remove-delay", "cluster-sync-interval", "config", "force"),
    *("max-result-buffer", "max-retry-attempts", "peer-heartbeat-interval", "peer-election-timeout"),
    *("retry-interval", "snapshot", "v", "vv", "test.coverprofile", "test.outputdir"),
)
"""Taken and forgotten, as by etcd."""
EXPERIMENTAL = (
    *("corrupt-check-time", "compact-hash-check-time", "compaction-batch-limit", "compaction-sleep-interval"),
    *("watch-progress-notify-interval", "downgrade-check-time", "warning-apply-duration"),
    *("warning-unary-request-duration", "memory-mlock", "bootstrap-defrag-threshold-megabytes"),
    *("snapshot-catchup-entries", "peer-skip-client-san-verification", "enable-distributed-tracing"),
    *("distributed-tracing-address", "distributed-tracing-service-name", "distributed-tracing-instance-id"),
    *("distributed-tracing-sampling-rate", "max-learners"),
)
GATES = (
    *("initial-corrupt-check", "compact-hash-check-enabled", "enable-lease-checkpoint"),
    *("enable-lease-checkpoint-persist", "txn-mode-write-with-shared-buffer", "stop-grpc-service-on-defrag"),
)
WITHOUT_EFFECT = {
    "backend-bbolt-freelist-type": "the backend is LMDB, which has one kind of list",
    "client-cert-file": "the gateway is in the same process and calls nobody",
    "client-key-file": "the gateway is in the same process and calls nobody",
    "discovery-fallback": "the only other value is refused",
    "socket-reuse-address": "asyncio sets it on every listener, as Go does",
    "v2-deprecation": "etcd 3.6 overrides what is given here too",
    "distributed-tracing-address": "tracing is refused",
    "distributed-tracing-instance-id": "tracing is refused",
    "distributed-tracing-sampling-rate": "tracing is refused",
    "distributed-tracing-service-name": "tracing is refused",
}
WORKED_OUT = {
    "auth-token": "config_tokens.py",
    "auth-token-ttl": "config_tokens.py",
    "auto-compaction-retention": "config.py",
    "feature-gates": "config.py",
    "initial-cluster-state": "config.py",
    "strict-reconfig-check": "reconfigure.py",
    "auto-tls": "config_rules.py",
    "logger": "config_rules.py",
}
"""Read in files whose name would pass for one of the settings themselves."""


def test_the_list_is_the_whole_of_our_flags() -> None:
    assert set(VALUES) | {"enable-v2"} == set(FLAGS)
    assert set(all_names()) >= {*VALUES, *OLD, *(f"experimental-{name}" for name in (*EXPERIMENTAL, *GATES))}
    assert (set(OLD), {f"experimental-{name}" for name in GATES}) == (set(IGNORED), set(GATED))
    assert set(EXPERIMENTAL) == set(RENAMED)


def value_of(config: Config, name: str) -> object:
    return getattr(config, FLAGS[name].attribute)


@pytest.mark.parametrize("name", VALUES)
def test_a_flag_is_taken_from_everywhere(name: str, tmp_path: Path) -> None:
    default = value_of(Config(), name)
    told = load([f"--{name}={VALUES[name]}"], {}, [])
    assert (value_of(told, name) != default) is (name != "v2-deprecation")
    by_variable = load([], {variable_of(name): VALUES[name]}, [])
    assert value_of(by_variable, name) == value_of(told, name)


@pytest.mark.parametrize("name", VALUES)
def test_no_flag_is_without_its_meaning(name: str) -> None:
    """Somebody reads it, or it is refused, or there is a reason."""
    if name in WITHOUT_EFFECT:
        assert not readers_of(name)
    elif name in REFUSED:
        with pytest.raises(ConfigError, match=f"^--{name} is not supported: "):
            check_supported(load([f"--{name}={VALUES[name]}"], {}, []))
    else:
        assert readers_of(name) or (SERVER / WORKED_OUT[name]).read_text().count(FLAGS[name].attribute)


SERVER = Path(ROOT) / "etcdpy" / "server"
SOURCES = {
    path: path.read_text()
    for room in ("server", "rpc", "peer", "tls", "cluster", "auth")
    for path in (Path(ROOT) / "etcdpy" / room).rglob("*.py")
    if not path.name.startswith("config")
} | {path: path.read_text() for path in ((Path(ROOT) / "etcdpy" / name) for name in ("embed.py", "cli.py"))}


def readers_of(name: str) -> list[Path]:
    """Files that look at a setting."""
    use = re.compile(rf"config\.{FLAGS[name].attribute}\b")
    return [path for path, text in SOURCES.items() if use.search(text)]


@pytest.mark.parametrize("name", OLD)
def test_old_flags_are_taken_and_forgotten(name: str) -> None:
    told, silent = vars(load([f"--{name}=1"], {}, [])), vars(load([], {}, []))
    assert {key for key in told if told[key] != silent[key]} == {"explicit"}


def test_the_version_is_no_setting() -> None:
    with pytest.raises(VersionWanted):
        load(["--version"], {}, [])
