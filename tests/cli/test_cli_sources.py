"""Command line, environment and config file: what a setting becomes, and what is refused on the way."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from etcdpy.server.config import Config
from etcdpy.server.config_kinds import ConfigError
from etcdpy.server.config_sources import (
    HelpWanted,
    Note,
    ShadowedVariable,
    UsageError,
    VersionWanted,
    all_names,
    load,
)
from etcdpy.server.config_table import FLAGS
from etcdpy.server.log import Level


def load_arguments(*arguments: str, **environment: str) -> Config:
    return load(arguments, environment, [])


def load_text(tmp_path: Path, text: str) -> Config:
    path = tmp_path / "etcd.conf.yml"
    path.write_text(text)
    return load_arguments("--config-file", str(path))


def test_defaults() -> None:
    config = load_arguments()
    assert config == Config()
    assert config.data_dir == Path("default.etcd")
    assert config.initial_cluster == "default=http://localhost:2380"
    assert config.listen_client_urls == ("http://localhost:2379",)
    assert (config.heartbeat_interval_ms, config.election_timeout_ms) == (100, 1000)
    assert config.grpc_keepalive_interval_s == 7200
    assert config.lease_ttl_min_s == 2


def test_go_flag_syntax() -> None:
    config = load_arguments(
        "-name", "a", "--election-timeout=2000", "--pre-vote=false", "-enable-pprof", "--max-learners", "3"
    )
    assert (config.name, config.election_timeout_ms, config.max_learners) == ("a", 2000, 3)
    assert config.enable_pprof
    assert not config.pre_vote
    assert config.explicit == {"name", "election-timeout", "pre-vote", "enable-pprof", "max-learners"}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--foo"], "flag provided but not defined: -foo"),
        (["--name"], "flag needs an argument: -name"),
        (["---x"], "bad flag syntax: ---x"),
        (["-=x"], "bad flag syntax: -=x"),
        (["--pre-vote=maybe"], 'invalid boolean value "maybe" for -pre-vote: parse error'),
        (["--snapshot-count=abc"], 'invalid value "abc" for flag -snapshot-count: parse error'),
        (["--initial-cluster-state=x"], 'invalid value "x" for flag -initial-cluster-state: invalid value'),
        (["--experimental-enable-v2v3="], "flag provided but not defined: -experimental-enable-v2v3"),
        (["--proxy=on"], "flag provided but not defined: -proxy"),
    ],
)
def test_usage_errors(arguments: list[str], message: str) -> None:
    with pytest.raises(UsageError) as caught:
        load_arguments(*arguments)
    assert str(caught.value) == message


@pytest.mark.parametrize("arguments", [["extra"], ["--pre-vote", "false"], ["-"], ["--", "x"]])
def test_arguments_that_are_no_flags(arguments: list[str]) -> None:
    with pytest.raises(ConfigError, match="is not a valid flag"):
        load_arguments(*arguments)


def test_help_and_version() -> None:
    with pytest.raises(HelpWanted):
        load_arguments("-h")
    with pytest.raises(VersionWanted):
        load_arguments("--version")
    assert load_arguments("--version=false") == Config()


def test_ignored_flags_take_anything() -> None:
    assert load_arguments("--force", "--vv=7", "--test.outputdir=x").explicit == {
        "force",
        "vv",
        "test.outputdir",
    }


def test_environment_fills_what_the_command_line_leaves_open() -> None:
    notes: list[Note] = []
    environment = {"ETCD_NAME": "a", "ETCD_ELECTION_TIMEOUT": "2000", "ETCD_DATA_DIR": "", "PATH": "/bin"}
    config = load(["--heartbeat-interval=50"], environment, notes)
    assert (config.name, config.election_timeout_ms, config.heartbeat_interval_ms) == ("a", 2000, 50)
    assert config.data_dir == Path("a.etcd")
    said = [(note.message, note.fields) for note in notes]
    fields = {"variable-name": "ETCD_NAME", "variable-value": "a"}
    assert ("recognized and used environment variable", fields) in said


@pytest.mark.parametrize("value", ["a", "b", ""])
def test_a_flag_and_its_variable_conflict(value: str) -> None:
    with pytest.raises(ShadowedVariable, match="shadowed by corresponding command-line flag") as caught:
        load_arguments("--name=a", ETCD_NAME=value)
    assert caught.value.variable == "ETCD_NAME"


def test_bad_and_unknown_variables() -> None:
    notes: list[Note] = []
    with pytest.raises(ConfigError, match='invalid value "x" for ETCD_HEARTBEAT_INTERVAL: parse error'):
        load([], {"ETCD_HEARTBEAT_INTERVAL": "x", "ETCD_FOO": "1", "ETCD_VERSION": "2"}, notes)
    assert [(note.level, note.message, note.fields) for note in notes] == [
        (Level.WARN, "cannot set special environment variable", {"key": "ETCD_VERSION", "value": "2"}),
        (Level.WARN, "unrecognized environment variable", {"environment-variable": "ETCD_FOO=1"}),
    ]


def test_passwords_are_not_logged() -> None:
    notes: list[Note] = []
    load([], {"ETCD_DISCOVERY_PASSWORD": "tiger"}, notes)
    assert [note.fields["variable-value"] for note in notes] == ["***"]


def test_name_alone_gives_the_initial_cluster() -> None:
    url = "http://127.0.0.1:12380"
    assert load_arguments("--name=a").initial_cluster == "a=http://localhost:2380"
    both = load_arguments("--name=a", f"--initial-advertise-peer-urls={url},http://127.0.0.1:12381")
    assert both.initial_cluster == f"a={url},a=http://127.0.0.1:12381"
    # Without a name etcd leaves the default, which then does not match; so do we.
    assert (
        load_arguments(f"--initial-advertise-peer-urls={url}").initial_cluster
        == "default=http://localhost:2380"
    )


def test_listening_elsewhere_takes_the_announced_default_away() -> None:
    url = "http://127.0.0.1:12379"
    assert load_arguments(f"--listen-client-urls={url}").advertise_client_urls == ()
    given_both = load_arguments(f"--listen-client-urls={url}", f"--advertise-client-urls={url}")
    assert given_both.advertise_client_urls == (url,)
    assert load_arguments("--listen-client-urls=").listen_client_urls == ("http://localhost:2379",)


def test_listening_everywhere_announces_this_machine() -> None:
    notes: list[Note] = []
    arguments = ["--name=a", "--listen-peer-urls=http://0.0.0.0:12380"]
    config = load(arguments, {}, notes, lambda: "192.0.2.7")
    assert config.initial_advertise_peer_urls == ("http://192.0.2.7:12380",)
    assert config.initial_cluster == "a=http://192.0.2.7:12380"
    assert config.advertise_client_urls == ("http://localhost:2379",)
    assert ("detected default host for advertise", {"host": "192.0.2.7"}) in [
        (note.message, note.fields) for note in notes
    ]
    assert load(arguments, {}, []).initial_advertise_peer_urls == ("http://localhost:2380",)


def test_discovery_takes_the_default_cluster_away() -> None:
    assert load_arguments("--discovery-srv=example.org").initial_cluster == ""
    kept = load_arguments("--discovery-srv=example.org", "--initial-cluster=a=http://127.0.0.1:1")
    assert kept.initial_cluster == "a=http://127.0.0.1:1"


def test_old_names() -> None:
    notes: list[Note] = []
    arguments = [
        "--experimental-max-learners=2",
        "--max-learners=3",
        "--experimental-initial-corrupt-check",
        "--experimental-txn-mode-write-with-shared-buffer=false",
    ]
    config = load(arguments, {}, notes)
    assert config.max_learners == 2
    assert config.features["InitialCorruptCheck"]
    assert not config.features["TxnModeWriteWithSharedBuffer"]
    assert sum("is deprecated in v3.6" in note.message for note in notes) == 3
    assert load_arguments(ETCD_EXPERIMENTAL_WARNING_APPLY_DURATION="2s").warning_apply_duration_s == 2


def test_old_and_new_names_that_conflict() -> None:
    with pytest.raises(ConfigError, match="both --experimental-warning-unary-request-duration and --warning"):
        load_arguments(
            "--experimental-warning-unary-request-duration=1s", "--warning-unary-request-duration=1s"
        )
    with pytest.raises(ConfigError) as caught:
        load_arguments(
            "--experimental-compact-hash-check-enabled", "--feature-gates=CompactHashCheck=false,AllBeta=true"
        )
    assert str(caught.value) == (
        "cannot specify both flags: --experimental-compact-hash-check-enabled=true and "
        "--feature-gates=CompactHashCheck=false at the same time, "
        "please just use --feature-gates=CompactHashCheck=false"
    )


def test_config_file_excludes_the_rest(tmp_path: Path) -> None:
    path = tmp_path / "c.yml"
    path.write_text("name: a\n")
    notes: list[Note] = []
    config = load(["--config-file", str(path), "--name=b", "--max-learners=7"], {"ETCD_NAME": "c"}, notes)
    assert (config.name, config.max_learners, set(config.explicit)) == ("a", 1, {"name"})
    assert notes[0].fields == {"path": str(path)}
    assert load([], {"ETCD_CONFIG_FILE": str(path)}, []).name == "a"


def test_config_file_forms(tmp_path: Path) -> None:
    config = load_text(
        tmp_path,
        """
Name: 12:30
unknown: {deep: [1]}
wal-dir: ~
initial-cluster-token: 2024-01-01
heartbeat-interval: 5e1
grpc-keepalive-interval: 1500000000
listen-client-urls: http://127.0.0.1:1,http://127.0.0.1:2
advertise-client-urls: http://127.0.0.1:2
initial-cluster-state: ""
log-outputs: [stderr, stdout]
cors: "*"
socket-options: {reuse-port: true}
client-transport-security: {cert-file: a, key-file: b, allowed-hostname: [x, z]}
peer-transport-security:
  allowed-cn: [name]
  skip-client-san-verification: true
discovery-config:
  token: t
  endpoints: [http://127.0.0.1:3]
  secure: {cacert: c, insecure-transport: false}
  auth: {username: u}
experimental-max-learners: 4
experimental-enable-lease-checkpoint: true
feature-gates: AllBeta=false
raft-read-timeout: 60000000000
""",
    )
    assert (config.name, config.wal_dir, config.initial_cluster_token) == ("12:30", None, "2024-01-01")
    assert (config.heartbeat_interval_ms, config.grpc_keepalive_interval_s) == (50, 1.5)
    assert config.listen_client_urls == ("http://127.0.0.1:1", "http://127.0.0.1:2")
    assert (config.initial_cluster_state, config.initial_cluster) == ("new", "")
    assert config.log_outputs == ("stderr", "stdout")
    assert (config.cert_file, config.client_cert_allowed_hostname) == ("a", ("x", "z"))
    assert (config.peer_cert_allowed_cn, config.peer_skip_client_san_verification) == (("name",), True)
    assert (config.discovery_token, config.discovery_endpoints) == ("t", ("http://127.0.0.1:3",))
    assert (config.discovery_cacert, config.discovery_insecure_transport) == ("c", False)
    assert (config.discovery_user, config.socket_reuse_port) == ("u", True)
    assert (config.max_learners, config.features["LeaseCheckpoint"]) == (4, True)
    # This one has no key: etcd reads it from the command line only.
    assert config.raft_read_timeout_s == 5


def test_config_file_may_be_json_or_empty(tmp_path: Path) -> None:
    assert load_text(tmp_path, '{"name": "a", "pre-vote": false}').name == "a"
    assert load_text(tmp_path, "") == Config()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            'heartbeat-interval: "100"',
            "error unmarshaling JSON: while decoding JSON: json: cannot unmarshal string into "
            "Go struct field configYAML.heartbeat-interval of type uint",
        ),
        ("grpc-keepalive-interval: 1s", "configYAML.grpc-keepalive-interval of type time.Duration"),
        (
            "election-timeout: -5",
            "cannot unmarshal number -5 into",
        ),
        (
            "log-outputs: stderr",
            "configYAML.log-outputs of type []string",
        ),
        ("- a", "json: cannot unmarshal array into Go value of type embed.configYAML"),
        ("name: [1", "error converting YAML to JSON: yaml: line 1: "),
        ("client-transport-security: 5", "configYAML.client-transport-security of type embed.securityConfig"),
        (
            "client-transport-security: {cert-file: [5]}",
            "cannot unmarshal array into Go struct field "
            "securityConfig.client-transport-security.cert-file of type string",
        ),
        (
            "listen-client-urls: foo",
            "unexpected error setting up listen-client-urls: "
            "URL scheme must be http, https, unix, or unixs: foo",
        ),
    ],
)
def test_config_file_errors(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load_text(tmp_path, text)
    assert message in str(caught.value)


def test_missing_config_file() -> None:
    with pytest.raises(ConfigError, match=r"^open /nonexistent/x: no such file or directory$"):
        load_arguments("--config-file=/nonexistent/x")


def test_every_flag_has_a_variable_of_its_own() -> None:
    variables = {flag.variable for flag in FLAGS.values()}
    assert len(variables) == len(FLAGS) > 110
    assert FLAGS["listen-client-urls"].variable == "ETCD_LISTEN_CLIENT_URLS"


@settings(derandomize=True, deadline=None, max_examples=200)
@given(
    st.lists(
        st.tuples(st.sampled_from(all_names()), st.text(max_size=8)).map(
            lambda pair: f"--{pair[0]}={pair[1]}"
        )
        | st.text(max_size=12),
        max_size=4,
    )
)
def test_any_command_line_is_taken_or_refused(arguments: list[str]) -> None:
    arguments = [argument for argument in arguments if "config-file" not in argument]
    try:
        load_arguments(*arguments)
    except (UsageError, ConfigError, HelpWanted, VersionWanted):
        pass
