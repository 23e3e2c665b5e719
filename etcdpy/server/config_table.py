"""Every setting of an etcd server, told once: its name, kind, default and meaning.

The classes below are the sections of `--help`, their attributes the flags. The flag is the attribute's name
with dashes for underscores and without the unit at its end (`election_timeout_ms` is `--election-timeout`),
the variable is that in capitals after `ETCD_`, and the key in a config file is the flag's name unless
`file` says otherwise. Names, defaults and the split into sections are those of etcd 3.6, to the letter.
"""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from etcdpy.cluster.urls import Url
from etcdpy.server.config_kinds import (
    COUNT,
    COUNT32,
    COUNT64,
    DURATION,
    INTEGER,
    LIST,
    MILLISECONDS,
    NAMES,
    ORIGINS,
    OUTPUTS,
    SWITCH,
    TEXT,
    URLS,
    choice,
    path,
)

if TYPE_CHECKING:
    from etcdpy.server.config_kinds import Kind

T = TypeVar("T")

NAME_DEFAULT = "default"
DATA_DIR_DEFAULT = Path("${name}.etcd")
PEER_URL_DEFAULT = Url("http://localhost:2380")
CLIENT_URL_DEFAULT = Url("http://localhost:2379")
INITIAL_CLUSTER_DEFAULT = f"{NAME_DEFAULT}={PEER_URL_DEFAULT}"
V2_DEPRECATION_DEFAULT = "write-only"
ROTATION_DEFAULT = '{"maxsize": 100, "maxage": 0, "maxbackups": 0, "localtime": false, "compress": false}'

DATA_DIR = path(DATA_DIR_DEFAULT)
WAL_DIR: Kind[Path | None] = path(None)

CLIENT_TLS = "client-transport-security/"
PEER_TLS = "peer-transport-security/"
DISCOVERY = "discovery-config/"


def flag(kind: Kind[T], default: T, meaning: str, *, file: str | None = "", secret: bool = False) -> T:
    """A setting. `file` is its key in a config file: empty for the flag's name, None for no key at all."""
    made: Any = field(
        default=default, metadata={"kind": kind, "meaning": meaning, "file": file, "secret": secret}
    )
    chosen: T = made
    return chosen


@dataclass(kw_only=True)
class MemberFlags:
    """Member"""

    name: str = flag(TEXT, NAME_DEFAULT, "Human-readable name of this member.")
    data_dir: Path = flag(DATA_DIR, DATA_DIR_DEFAULT, "Path to the data directory.")  # noqa: RUF009 (it makes a field)
    wal_dir: Path | None = flag(WAL_DIR, None, "Directory for the write-ahead log alone.")  # noqa: RUF009 (it makes a field)
    snapshot_count: int = flag(COUNT64, 10_000, "Applied entries after which a raft snapshot is written.")
    snapshot_catchup_entries: int = flag(
        COUNT64, 5_000, "Entries kept behind a raft snapshot so that slow followers catch up by log."
    )
    heartbeat_interval_ms: int = flag(MILLISECONDS, 100, "Time (in milliseconds) of a heartbeat interval.")
    election_timeout_ms: int = flag(
        MILLISECONDS, 1_000, "Time (in milliseconds) without a leader after which an election begins."
    )
    initial_election_tick_advance: bool = flag(SWITCH, True, "Whether the first election may come early.")
    listen_peer_urls: tuple[Url, ...] = flag(URLS, (PEER_URL_DEFAULT,), "URLs to listen on for members.")
    listen_client_urls: tuple[Url, ...] = flag(
        URLS, (CLIENT_URL_DEFAULT,), "URLs to listen on for gRPC clients, and for HTTP if it has no own URLs."
    )
    listen_client_http_urls: tuple[Url, ...] = flag(URLS, (), "URLs to listen on for HTTP clients only.")
    max_snapshots: int = flag(COUNT, 5, "Raft snapshot files to keep (0 is unlimited).")
    max_wals: int = flag(COUNT, 5, "Write-ahead log files to keep (0 is unlimited).")
    memory_mlock: bool = flag(SWITCH, False, "Lock the backend's pages in memory.")
    quota_backend_bytes: int = flag(
        INTEGER, 0, "Backend size at which the space alarm is raised (0 is 2 GiB, negative is no limit)."
    )
    backend_bbolt_freelist_type: str = flag(TEXT, "map", "Accepted; the backend has no bbolt freelist.")
    backend_batch_interval_s: float = flag(
        DURATION, 0.0, "Longest time between backend flushes (0 is 100ms)."
    )
    backend_batch_limit: int = flag(INTEGER, 0, "Most operations between backend flushes (0 is 10000).")
    max_txn_ops: int = flag(COUNT, 128, "Most operations permitted in a transaction.")
    max_request_bytes: int = flag(COUNT, 1_572_864, "Largest client request in bytes.")
    max_concurrent_streams: int = flag(COUNT32, 2**32 - 1, "Most HTTP/2 streams open on one connection.")
    grpc_keepalive_min_time_s: float = flag(DURATION, 5.0, "Shortest interval at which a client may ping.")
    grpc_keepalive_interval_s: float = flag(
        DURATION, 7200.0, "Interval of the server's own pings (0 is off)."
    )
    grpc_keepalive_timeout_s: float = flag(
        DURATION, 20.0, "Time after a ping without answer until the connection is closed (0 is off)."
    )
    socket_reuse_port: bool = flag(
        SWITCH, False, "Set SO_REUSEPORT on listeners.", file="socket-options/reuse-port"
    )
    socket_reuse_address: bool = flag(
        SWITCH, False, "Set SO_REUSEADDR on listeners.", file="socket-options/reuse-address"
    )
    raft_read_timeout_s: float = flag(
        DURATION, 5.0, "Read timeout of peer connections (5s at least).", file=None
    )
    raft_write_timeout_s: float = flag(
        DURATION, 5.0, "Write timeout of peer connections (5s at least).", file=None
    )
    enable_grpc_gateway: bool = flag(SWITCH, True, "Answer JSON over HTTP below /v3/.")
    feature_gates: str = flag(TEXT, "", "Features to switch, as Gate=true,Other=false.")


@dataclass(kw_only=True)
class ClusteringFlags:
    """Clustering"""

    initial_advertise_peer_urls: tuple[Url, ...] = flag(
        URLS, (PEER_URL_DEFAULT,), "This member's peer URLs, as the other members are told."
    )
    initial_cluster: str = flag(TEXT, INITIAL_CLUSTER_DEFAULT, "The founding members, as name=url,name=url.")
    initial_cluster_state: str = flag(
        choice("new", "existing"),
        "new",
        "Found a 'new' cluster or join an 'existing' one; ignored on restart.",
    )
    initial_cluster_token: str = flag(
        TEXT,
        "etcd-cluster",
        "Part of all ids, so that clusters with equal URLs do not take each other for one.",
    )
    advertise_client_urls: tuple[Url, ...] = flag(
        URLS, (CLIENT_URL_DEFAULT,), "This member's client URLs, as clients and members are told."
    )
    discovery: str = flag(TEXT, "", "URL of a v2 discovery service.")
    discovery_fallback: str = flag(
        choice("exit", "proxy"), "exit", "What to do when discovery fails; only 'exit' works.", file=None
    )
    discovery_proxy: str = flag(TEXT, "", "HTTP proxy for v2 discovery.")
    discovery_endpoints: tuple[str, ...] = flag(
        OUTPUTS, (), "Endpoints of the etcd that serves v3 discovery.", file=DISCOVERY + "endpoints"
    )
    discovery_token: str = flag(TEXT, "", "Token of the cluster in v3 discovery.", file=DISCOVERY + "token")
    discovery_dial_timeout_s: float = flag(
        DURATION, 2.0, "Dial timeout of v3 discovery.", file=DISCOVERY + "dial-timeout"
    )
    discovery_request_timeout_s: float = flag(
        DURATION, 5.0, "Request timeout of v3 discovery.", file=DISCOVERY + "request-timeout"
    )
    discovery_keepalive_time_s: float = flag(
        DURATION, 2.0, "Ping interval of v3 discovery.", file=DISCOVERY + "keepalive-time"
    )
    discovery_keepalive_timeout_s: float = flag(
        DURATION, 6.0, "Ping timeout of v3 discovery.", file=DISCOVERY + "keepalive-timeout"
    )
    discovery_insecure_transport: bool = flag(
        SWITCH, True, "Allow v3 discovery without TLS.", file=DISCOVERY + "secure/insecure-transport"
    )
    discovery_insecure_skip_tls_verify: bool = flag(
        SWITCH,
        False,
        "Do not verify the discovery server.",
        file=DISCOVERY + "secure/insecure-skip-tls-verify",
    )
    discovery_cert: str = flag(
        TEXT, "", "Client certificate file for v3 discovery.", file=DISCOVERY + "secure/cert"
    )
    discovery_key: str = flag(TEXT, "", "Client key file for v3 discovery.", file=DISCOVERY + "secure/key")
    discovery_cacert: str = flag(TEXT, "", "CA file for v3 discovery.", file=DISCOVERY + "secure/cacert")
    discovery_user: str = flag(
        TEXT, "", "name[:password] for v3 discovery.", file=DISCOVERY + "auth/username", secret=True
    )
    discovery_password: str = flag(
        TEXT, "", "Password for v3 discovery.", file=DISCOVERY + "auth/password", secret=True
    )
    discovery_srv: str = flag(TEXT, "", "DNS domain whose SRV records list the founding members.")
    discovery_srv_name: str = flag(TEXT, "", "Suffix of the SRV service name.")
    strict_reconfig_check: bool = flag(SWITCH, True, "Refuse membership changes that would lose the quorum.")
    pre_vote: bool = flag(SWITCH, True, "Ask before an election whether it could be won.")
    auto_compaction_retention: str = flag(
        TEXT, "0", "History to keep: a duration or hours ('periodic'), or revisions ('revision'); 0 is all."
    )
    auto_compaction_mode: str = flag(
        TEXT, "periodic", "How the retention is meant: 'periodic' or 'revision'."
    )
    enable_v2: bool = flag(SWITCH, False, "Answer the v2 API below /v2/, as etcd did until 3.5.")
    v2_deprecation: str = flag(
        choice(V2_DEPRECATION_DEFAULT, "write-only-skip-check", "write-only-drop-data", "gone"),
        V2_DEPRECATION_DEFAULT,
        "Stage of the v2 store's end; the default is enforced whatever is given.",
    )


@dataclass(kw_only=True)
class SecurityFlags:
    """Security"""

    cert_file: str = flag(TEXT, "", "Server certificate for clients.", file=CLIENT_TLS + "cert-file")
    key_file: str = flag(TEXT, "", "Key of the server certificate for clients.", file=CLIENT_TLS + "key-file")
    client_cert_file: str = flag(
        TEXT, "", "Certificate for our own calls to the client port.", file=CLIENT_TLS + "client-cert-file"
    )
    client_key_file: str = flag(
        TEXT, "", "Key for our own calls to the client port.", file=CLIENT_TLS + "client-key-file"
    )
    client_cert_auth: bool = flag(
        SWITCH, False, "Demand a valid certificate of every client.", file=CLIENT_TLS + "client-cert-auth"
    )
    client_crl_file: str = flag(TEXT, "", "Revoked client certificates.", file=None)
    client_cert_allowed_hostname: tuple[str, ...] = flag(
        LIST, (), "Names of which a client certificate must carry one.", file=CLIENT_TLS + "allowed-hostname"
    )
    trusted_ca_file: str = flag(TEXT, "", "CA of client certificates.", file=CLIENT_TLS + "trusted-ca-file")
    auto_tls: bool = flag(
        SWITCH, False, "Serve clients with a self-made certificate.", file=CLIENT_TLS + "auto-tls"
    )
    peer_cert_file: str = flag(TEXT, "", "Server certificate for members.", file=PEER_TLS + "cert-file")
    peer_key_file: str = flag(
        TEXT, "", "Key of the server certificate for members.", file=PEER_TLS + "key-file"
    )
    peer_client_cert_file: str = flag(
        TEXT, "", "Certificate for calls to members.", file=PEER_TLS + "client-cert-file"
    )
    peer_client_key_file: str = flag(TEXT, "", "Key for calls to members.", file=PEER_TLS + "client-key-file")
    peer_client_cert_auth: bool = flag(
        SWITCH, False, "Demand a valid certificate of every member.", file=PEER_TLS + "client-cert-auth"
    )
    peer_trusted_ca_file: str = flag(
        TEXT, "", "CA of members' certificates.", file=PEER_TLS + "trusted-ca-file"
    )
    peer_cert_allowed_cn: tuple[str, ...] = flag(
        LIST, (), "Common names of which a member's certificate must have one.", file=PEER_TLS + "allowed-cn"
    )
    peer_cert_allowed_hostname: tuple[str, ...] = flag(
        LIST, (), "Names of which a member's certificate must carry one.", file=PEER_TLS + "allowed-hostname"
    )
    peer_auto_tls: bool = flag(
        SWITCH, False, "Serve members with a self-made certificate.", file=PEER_TLS + "auto-tls"
    )
    peer_crl_file: str = flag(TEXT, "", "Revoked certificates of members.", file=None)
    peer_skip_client_san_verification: bool = flag(
        SWITCH,
        False,
        "Do not compare a member's address with its certificate.",
        file=PEER_TLS + "skip-client-san-verification",
    )
    self_signed_cert_validity: int = flag(COUNT, 1, "Validity of self-made certificates in years.")
    cipher_suites: tuple[str, ...] = flag(LIST, (), "TLS 1.2 cipher suites to offer, by their IANA names.")
    tls_min_version: str = flag(TEXT, "TLS1.2", "Lowest TLS version: TLS1.2 or TLS1.3.")
    tls_max_version: str = flag(TEXT, "", "Highest TLS version; empty is the highest there is.")
    cors: tuple[str, ...] = flag(ORIGINS, ("*",), "Origins that browsers may call from (* is all).")
    host_whitelist: tuple[str, ...] = flag(
        NAMES, ("*",), "Host names that plain HTTP calls may use (empty or * is all)."
    )


@dataclass(kw_only=True)
class AuthFlags:
    """Auth"""

    auth_token: str = flag(TEXT, "simple", "Kind of auth tokens and its options: 'simple', 'jwt,...'.")
    bcrypt_cost: int = flag(COUNT, 10, "Cost of hashing passwords, 4 to 31.")
    auth_token_ttl: int = flag(COUNT, 300, "Seconds that a simple token lives.")


@dataclass(kw_only=True)
class MonitoringFlags:
    """Profiling and Monitoring"""

    enable_pprof: bool = flag(SWITCH, False, "Serve profiles below /debug/pprof/ on the client URLs.")
    metrics: str = flag(TEXT, "basic", "'extensive' adds histograms of gRPC handling times.")
    listen_metrics_urls: tuple[Url, ...] = flag(URLS, (), "More URLs to serve metrics and health on.")


@dataclass(kw_only=True)
class LoggingFlags:
    """Logging"""

    logger: str = flag(TEXT, "zap", "Form of log lines; 'zap' is the only one.")
    log_outputs: tuple[str, ...] = flag(
        OUTPUTS, ("default",), "Where log lines go: stdout, stderr (default), systemd/journal, or files."
    )
    log_level: str = flag(TEXT, "info", "Lowest level logged: debug, info, warn, error, panic, or fatal.")
    log_format: str = flag(TEXT, "json", "'json' or 'console'.")
    enable_log_rotation: bool = flag(SWITCH, False, "Rotate the single log file.")
    log_rotation_config_json: str = flag(
        TEXT, ROTATION_DEFAULT, "How: maxsize (MB), maxage (days), maxbackups, localtime, compress."
    )
    warning_apply_duration_s: float = flag(DURATION, 0.1, "Warn of requests that take longer to apply.")
    warning_unary_request_duration_s: float = flag(DURATION, 0.3, "Warn of unary calls that take longer.")


@dataclass(kw_only=True)
class TracingFlags:
    """Distributed tracing"""

    enable_distributed_tracing: bool = flag(SWITCH, False, "Send spans to an OpenTelemetry collector.")
    distributed_tracing_address: str = flag(TEXT, "localhost:4317", "The collector's address.")
    distributed_tracing_service_name: str = flag(TEXT, "etcd", "Service name, equal on all members.")
    distributed_tracing_instance_id: str = flag(TEXT, "", "Instance id, different on all members.")
    distributed_tracing_sampling_rate: int = flag(INTEGER, 0, "Spans to take of a million.")


@dataclass(kw_only=True)
class FeatureFlags:
    """Features"""

    corrupt_check_time_s: float = flag(DURATION, 0.0, "Interval of comparing members' hashes (0 is never).")
    compact_hash_check_time_s: float = flag(
        DURATION, 60.0, "Interval of comparing compaction hashes, with the gate CompactHashCheck."
    )
    compaction_batch_limit: int = flag(
        INTEGER, 0, "Most revisions removed in one compaction step (0 is 1000)."
    )
    compaction_sleep_interval_s: float = flag(DURATION, 0.0, "Pause between compaction steps (0 is 10ms).")
    watch_progress_notify_interval_s: float = flag(
        DURATION, 0.0, "Interval of progress notifications to watchers (0 is 10m)."
    )
    downgrade_check_time_s: float = flag(DURATION, 5.0, "Interval of looking after a downgrade (0 is never).")
    bootstrap_defrag_threshold_megabytes: int = flag(
        COUNT, 0, "Defragment at start when it frees this much (0 is never)."
    )
    max_learners: int = flag(INTEGER, 1, "Most learners in the cluster; equal on all members.")


@dataclass(kw_only=True)
class UnsafeFlags:
    """Unsafe features"""

    force_new_cluster: bool = flag(SWITCH, False, "Make of this member's data a cluster of one.")
    unsafe_no_fsync: bool = flag(SWITCH, False, "Do not wait for the disk; a crash then loses data.")


SECTIONS = (
    MemberFlags,
    ClusteringFlags,
    SecurityFlags,
    AuthFlags,
    MonitoringFlags,
    LoggingFlags,
    TracingFlags,
    FeatureFlags,
    UnsafeFlags,
)


@dataclass(frozen=True, slots=True)
class Flag:
    """One row of the table, as those who read or print flags want it."""

    name: str
    attribute: str
    kind: Kind[Any]
    default: Any
    meaning: str
    section: str
    file_key: str | None
    secret: bool

    @property
    def variable(self) -> str:
        return variable_of(self.name)


def variable_of(name: str) -> str:
    """The environment variable that stands for a flag."""
    return "ETCD_" + name.upper().replace("-", "_")


def _flags() -> dict[str, Flag]:
    table = {}
    for section in SECTIONS:
        for made in fields(section):
            kind: Kind[Any] = made.metadata["kind"]
            assert made.name.endswith(kind.unit), f"{made.name} does not end in its unit {kind.unit}"
            name = made.name.removesuffix(kind.unit).replace("_", "-")
            file_key = made.metadata["file"]
            table[name] = Flag(
                name,
                made.name,
                kind,
                made.default,
                made.metadata["meaning"],
                section.__doc__ or "",
                name if file_key == "" else file_key,
                made.metadata["secret"],
            )
    return table


# All flags by name, in the order of the sections.
FLAGS = _flags()
