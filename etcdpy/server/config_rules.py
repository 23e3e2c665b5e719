"""What etcd refuses to start with, as far as the settings alone tell, in the order in which it looks.

Some rules belong to a new cluster only (does the initial cluster name us?) and are asked by
`check_founding` once it is known that there is no data yet. What needs the network or the disk is not
decided here. `advice` are the settings that are allowed but that etcd warns of.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from etcdpy.auth.passwords import COST_DEFAULT, COST_MAX, COST_MIN, effective_cost
from etcdpy.cluster.urls import BadUrl, check_bind_urls, check_host_urls
from etcdpy.server.config_kinds import ConfigError
from etcdpy.server.config_support import check_supported, without_effect
from etcdpy.server.config_table import NAME_DEFAULT
from etcdpy.server.config_tokens import tokens_of
from etcdpy.server.log import duration_text

if TYPE_CHECKING:
    from collections.abc import Sequence

    from etcdpy.cluster.urls import Url
    from etcdpy.server.config import Config

ELECTION_TIMEOUT_MAX_MS = 50_000
SAMPLING_RATE_MAX = 1_000_000
QUOTA_RECOMMENDED_BYTES = 8 * 1024**3
REQUEST_RECOMMENDED_BYTES = 10 * 1024**2
TLS_VERSIONS = ("TLS1.2", "TLS1.3")

# The suites of Go's TLS library, by which etcd's users name them.
CIPHER_SUITES = frozenset(
    [
        "TLS_RSA_WITH_RC4_128_SHA",
        "TLS_RSA_WITH_3DES_EDE_CBC_SHA",
        "TLS_RSA_WITH_AES_128_CBC_SHA",
        "TLS_RSA_WITH_AES_256_CBC_SHA",
        "TLS_RSA_WITH_AES_128_CBC_SHA256",
        "TLS_RSA_WITH_AES_128_GCM_SHA256",
        "TLS_RSA_WITH_AES_256_GCM_SHA384",
        "TLS_ECDHE_ECDSA_WITH_RC4_128_SHA",
        "TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA",
        "TLS_ECDHE_ECDSA_WITH_AES_256_CBC_SHA",
        "TLS_ECDHE_RSA_WITH_RC4_128_SHA",
        "TLS_ECDHE_RSA_WITH_3DES_EDE_CBC_SHA",
        "TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA",
        "TLS_ECDHE_RSA_WITH_AES_256_CBC_SHA",
        "TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA256",
        "TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA256",
        "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256",
        "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256",
        "TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384",
        "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384",
        "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256",
        "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256",
        "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305",
        "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305",
        "TLS_AES_128_GCM_SHA256",
        "TLS_AES_256_GCM_SHA384",
        "TLS_CHACHA20_POLY1305_SHA256",
    ]
)


class UnsetAdvertiseClientUrls(ConfigError):
    """Listening elsewhere than the default, but telling nobody where."""

    def __init__(self) -> None:
        super().__init__("--advertise-client-urls is required when --listen-client-urls is set explicitly")


def check(config: Config) -> None:
    """Refuse settings that etcd refuses, then those we may not ignore. Raises ConfigError."""
    if config.logger != "zap":
        reason = "--logger=capnslog is removed in v3.5"
        raise ConfigError(
            reason if config.logger == "capnslog" else f'unknown logger option "{config.logger}"'
        )
    if config.discovery_fallback == "proxy":
        raise ConfigError('v2 proxy is deprecated, and --discovery-fallback can\'t be configured as "proxy"')
    _check_urls(config)
    _check_bootstrap_choice(config)
    _check_timing(config)
    if not config.advertise_client_urls:
        raise UnsetAdvertiseClientUrls
    _check_compaction_mode(config)
    _check_tracing(config)
    _check_features(config)
    _check_tls_versions(config)
    _check_tls_files(config)
    _check_start(config)
    check_supported(config)


def check_founding(config: Config) -> dict[str, tuple[Url, ...]]:
    """The initial cluster of a member that has no data yet. Raises ConfigError."""
    try:
        urls_by_name = config.initial_urls_by_name
    except BadUrl as error:
        raise ConfigError(f"error setting up initial cluster: {error}") from error
    if not config.initial_cluster:
        raise ConfigError("initial cluster unset and no discovery endpoints found")
    return urls_by_name


def advice(config: Config) -> list[tuple[str, dict[str, object]]]:
    """Warnings about settings that are allowed: message and fields."""
    found: list[tuple[str, dict[str, object]]] = []
    if not config.listen_client_http_urls:
        found.append(
            ("Running http and grpc server on single port. This is not recommended for production.", {})
        )
    if config.name == NAME_DEFAULT:
        message = (
            "it isn't recommended to use default name, please set a value for --name. "
            "Note that etcd might run into issue when multiple members have the same default name"
        )
        found.append((message, {"name": config.name}))
    if "data-dir" not in config.explicit:
        found.append(("'data-dir' was empty; using default", {"data-dir": str(config.data_dir)}))
    if config.enable_v2:
        found.append(("members of etcd 3.6 and later stop at the first write below /v2/keys", {}))
    if config.max_request_bytes > REQUEST_RECOMMENDED_BYTES:
        fields: dict[str, object] = {
            "max-request-bytes": config.max_request_bytes,
            "recommended-request-bytes": REQUEST_RECOMMENDED_BYTES,
        }
        found.append(("exceeded recommended request limit", fields))
    if config.quota_backend_bytes > QUOTA_RECOMMENDED_BYTES:
        fields = {
            "quota-size-bytes": config.quota_backend_bytes,
            "quota-maximum-size-bytes": QUOTA_RECOMMENDED_BYTES,
        }
        found.append(("quota exceeds the maximum value", fields))
    if config.bcrypt_cost != effective_cost(config.bcrypt_cost):
        fields = {
            "min-cost": COST_MIN,
            "max-cost": COST_MAX,
            "default-cost": COST_DEFAULT,
            "given-cost": config.bcrypt_cost,
        }
        found.append(("use default bcrypt cost instead of the invalid given cost", fields))
    if config.auth_token.split(",")[0] == "simple":
        found.append(("simple token is not cryptographically signed", {}))
    if config.unsafe_no_fsync:
        found.append(("fsync is off; a crash of this machine loses data", {}))
    idle = without_effect(config)
    if idle:
        found.append(("these settings are accepted but have no effect in etcdpy yet", {"flags": idle}))
    return found


def _check_urls(config: Config) -> None:
    try:
        check_bind_urls(config.listen_peer_urls)
        check_bind_urls(config.listen_client_urls)
        check_bind_urls(config.listen_client_http_urls)
        check_bind_urls(config.listen_metrics_urls)
    except BadUrl as error:
        raise ConfigError(str(error)) from error
    peers, clients = config.initial_advertise_peer_urls, config.advertise_client_urls
    try:
        check_host_urls(peers)
    except BadUrl as error:
        raise ConfigError(
            f'--initial-advertise-peer-urls "{",".join(peers)}" must be "host:port" ({error})'
        ) from error
    try:
        check_host_urls(clients)
    except BadUrl as error:
        raise ConfigError(
            f'--advertise-client-urls "{",".join(clients)}" must be in the format "host:port", '
            f'"unix:/path/to/socket" or "unixs:/path/to/socket" ({error})'
        ) from error


def _check_bootstrap_choice(config: Config) -> None:
    if config.initial_cluster_state not in ("new", "existing"):
        raise ConfigError(f'unexpected clusterState "{config.initial_cluster_state}"')
    chosen = (config.initial_cluster, config.discovery_endpoints, config.discovery_srv, config.discovery)
    if sum(map(bool, chosen)) > 1:
        raise ConfigError(
            "multiple discovery or bootstrap flags are set. "
            'Choose one of "initial-cluster", "discovery-endpoints" or "discovery-srv"'
        )
    if bool(config.discovery_token) != bool(config.discovery_endpoints):
        raise ConfigError("both --discovery-token and --discovery-endpoints must be set")
    if not all(config.discovery_endpoints):
        raise ConfigError("--discovery-endpoints must not contain empty endpoints")


def _check_timing(config: Config) -> None:
    heartbeat, election = config.heartbeat_interval_ms, config.election_timeout_ms
    if heartbeat == 0:
        raise ConfigError(f"--heartbeat-interval must be >0 (set to {heartbeat}ms)")
    if election == 0:
        raise ConfigError(f"--election-timeout must be >0 (set to {election}ms)")
    if election < 5 * heartbeat:
        raise ConfigError(
            f"--election-timeout[{election}ms] should be at least as 5 times "
            f"as --heartbeat-interval[{heartbeat}ms]"
        )
    if election > ELECTION_TIMEOUT_MAX_MS:
        raise ConfigError(
            f"--election-timeout[{election}ms] is too long, "
            f"and should be set less than {ELECTION_TIMEOUT_MAX_MS}ms"
        )


def _check_compaction_mode(config: Config) -> None:
    mode = config.auto_compaction_mode
    if not mode:
        raise ConfigError("undefined auto-compaction-mode")
    if mode not in ("periodic", "revision"):
        raise ConfigError(f'unknown auto-compaction-mode "{mode}"')


def _check_tracing(config: Config) -> None:
    if not config.enable_distributed_tracing:
        return
    rate = config.distributed_tracing_sampling_rate
    if 0 <= rate < SAMPLING_RATE_MAX:
        return
    reason = "must be positive" if rate < 0 else f"must be less than {SAMPLING_RATE_MAX}"
    # The spelling is etcd's.
    raise ConfigError(f"distributed tracing configurition is not valid: (tracing sampling rate {reason})")


def _check_features(config: Config) -> None:
    features = config.features
    if features["LeaseCheckpointPersist"] and not features["LeaseCheckpoint"]:
        raise ConfigError(
            "enabling feature gate LeaseCheckpointPersist requires enabling feature gate LeaseCheckpoint"
        )
    if config.compact_hash_check_time_s <= 0:
        shown = duration_text(config.compact_hash_check_time_s)
        raise ConfigError(f"--compact-hash-check-time must be >0 (set to {shown})")


def _check_tls_versions(config: Config) -> None:
    lowest, highest = config.tls_min_version, config.tls_max_version
    for version in (lowest, highest):
        if version and version not in TLS_VERSIONS:
            raise ConfigError(f'unexpected TLS version "{version}" (must be one of: TLS1.2, TLS1.3)')
    if lowest and highest and lowest > highest:
        raise ConfigError(f"min version ({lowest}) is greater than max version ({highest})")
    if lowest == "TLS1.3" and config.cipher_suites:
        raise ConfigError("cipher suites cannot be configured when only TLS1.3 is enabled")
    for suite in config.cipher_suites:
        if suite not in CIPHER_SUITES:
            raise ConfigError(f'unexpected TLS cipher suite "{suite}"')


def _check_tls_files(config: Config) -> None:
    _check_pair("KeyFile", config.key_file, "CertFile", config.cert_file)
    _check_pair("ClientKeyFile", config.client_key_file, "ClientCertFile", config.client_cert_file)
    _check_pair("KeyFile", config.peer_key_file, "CertFile", config.peer_cert_file)
    _check_pair("ClientKeyFile", config.peer_client_key_file, "ClientCertFile", config.peer_client_cert_file)
    common, names = config.peer_cert_allowed_cn, config.peer_cert_allowed_hostname
    if common and names:
        raise ConfigError(
            "AllowedCNs and AllowedHostnames are mutually exclusive "
            f"(cns={_go_list(common)}, hostnames={_go_list(names)})"
        )


def _check_pair(key_name: str, key: str, cert_name: str, cert: str) -> None:
    if bool(key) != bool(cert):
        raise ConfigError(f"{key_name} and {cert_name} must both be present[key: {key}, cert: {cert}]")


def _check_start(config: Config) -> None:
    """What etcd finds out only when it starts, though the settings said so all along."""
    clients = [*config.listen_client_urls, *config.listen_client_http_urls]
    if not config.cert_file and not config.auto_tls:
        for url in clients:
            if url.is_secure:
                raise ConfigError(
                    "TLS key/cert (--cert-file, --key-file) must be provided "
                    f"for client url {url} with HTTPS scheme"
                )
        if any(url.is_secure for url in config.listen_metrics_urls):
            raise ConfigError(
                "client TLS key/cert (--cert-file, --key-file) must be provided for metrics secure url"
            )
    if not config.peer_cert_file and not config.peer_auto_tls:
        for url in config.listen_peer_urls:
            if url.is_secure:
                raise ConfigError(
                    f"cannot listen on TLS for {url.address}: KeyFile and CertFile are not presented"
                )
    for url in config.listen_client_http_urls:
        if url in config.listen_client_urls:
            raise ConfigError(
                f"cannot bind both --listen-client-urls and --listen-client-http-urls on the same url {url}"
            )
    tokens_of(config)  # raises when its options or keys cannot be read
    _ = config.compaction_retention  # raises when it cannot be read


def _go_list(texts: Sequence[str]) -> str:
    return "[" + " ".join(texts) + "]"
