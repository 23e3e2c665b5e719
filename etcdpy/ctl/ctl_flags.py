"""The flags of every command of `etcdpyctl`.

They stand apart from the commands, so that a command line is understood before anything large is imported.
"""

from __future__ import annotations

from typing import Final

from etcdpy.ctl.command_line import Flag, Seconds

# The gRPC library would write its opinion of each handshake to standard error. It looks when it is imported.
LIBRARY_LOG: Final = ("GRPC_VERBOSITY", "NONE")

GLOBAL: Final = (
    Flag("endpoints", ("127.0.0.1:2379",), "Where to connect, with commas between several"),
    Flag("debug", False, "Show the flags' values on standard error"),
    Flag("write-out", "simple", "Format of the output: simple, fields, json, table or protobuf", short="w"),
    Flag("hex", False, "Show keys, values and ids in hexadecimal"),
    Flag("dial-timeout", Seconds(2), "How long a connection may take"),
    Flag("command-timeout", Seconds(5), "How long a short command may take, without the connection"),
    Flag("keepalive-time", Seconds(2), "How long a connection may be silent before it is probed"),
    Flag("keepalive-timeout", Seconds(6), "How long to wait for the answer to a probe"),
    Flag("insecure-transport", True, "Connect without TLS where nothing else asks for it"),
    Flag("insecure-discovery", True, "Take endpoints without TLS from SRV records"),
    Flag("insecure-skip-tls-verify", False, "Take any server certificate (for tests only)"),
    Flag("cert", "", "File of the client's certificate"),
    Flag("key", "", "File of the client's key"),
    Flag("cacert", "", "File of the authorities to trust"),
    Flag("user", "", "Name, or name:password; the password is asked for if it is in neither flag"),
    Flag("password", "", "Password of --user, which has only the name then"),
    Flag("auth-jwt-token", "", "A token that is shown instead of getting one by --user (3.7)"),
    Flag("discovery-srv", "", "Domain whose SRV records list the endpoints", short="d"),
    Flag("discovery-srv-name", "", "Suffix of the SRV service's name"),
)
GET: Final = (
    Flag("consistency", "l", "l: as new as any (linearizable), s: as this member knows it (serializable)"),
    Flag("order", "", "ASCEND or DESCEND"),
    Flag("sort-by", "", "CREATE, KEY, MODIFY, VALUE or VERSION"),
    Flag("limit", 0, "At most so many keys; 0 for all"),
    Flag("prefix", False, "All keys that begin so"),
    Flag("from-key", False, "All keys that are not less"),
    Flag("rev", 0, "As it was at this revision"),
    Flag("keys-only", False, "Keys without values"),
    Flag("count-only", False, "Only how many there are (with -w fields)"),
    Flag("print-value-only", False, "Values without keys (in the simple format)"),
    Flag("stream", False, "Ask for the answer in pieces (3.7)"),
    Flag("min-create-rev", 0, "Only keys that were created at this revision or later"),
    Flag("max-create-rev", 0, "Only keys that were created at this revision or earlier"),
    Flag("min-mod-rev", 0, "Only keys that were changed at this revision or later"),
    Flag("max-mod-rev", 0, "Only keys that were changed at this revision or earlier"),
)
PUT: Final = (
    Flag("lease", "0", "Id of a lease, in hexadecimal, that the key is to end with"),
    Flag("prev-kv", False, "Show what was there before"),
    Flag("ignore-value", False, "Keep the value and change the lease"),
    Flag("ignore-lease", False, "Keep the lease and change the value"),
)
DELETE: Final = (
    Flag("prefix", False, "All keys that begin so"),
    Flag("prev-kv", False, "Show what is removed"),
    Flag("from-key", False, "All keys that are not less"),
    Flag("range", False, "Allowed with an end, for etcdctl 3.6's sake"),
)
TIME_TO_LIVE: Final = (Flag("keys", False, "Show the keys that end with the lease"),)
KEEP_ALIVE: Final = (Flag("once", False, "Renew it once and stop"),)
MEMBER_ADD: Final = (
    Flag("peer-urls", "", "URLs of the new member's peer port, with commas between them"),
    Flag("learner", False, "Add it as a learner, without a vote"),
)
MEMBER_UPDATE: Final = (Flag("peer-urls", "", "New URLs of its peer port, with commas between them"),)
MEMBER_LIST: Final = (Flag("consistency", "l", "l: as the cluster knows it, s: as this member knows it"),)
CLUSTER: Final = Flag("cluster", False, "All endpoints that the cluster's members announce")
HASH: Final = (Flag("rev", 0, "Hash the keys up to this revision; 0 for all"),)
DEFRAG: Final = (
    CLUSTER,
    Flag("data-dir", "", "A directory that no server uses, defragmented in place"),
)
INTERACTIVE: Final = Flag("interactive", True, "Ask for the password twice, else read it once")
USER_ADD: Final = (
    INTERACTIVE,
    Flag("new-user-password", "", "Password of the new user"),
    Flag("no-password", False, "A user without a password, known by a certificate"),
)
USER_PASSWORD: Final = (INTERACTIVE,)
USER_GET: Final = (Flag("detail", False, "Show what the user's roles permit"),)
ROLE_RANGE: Final = (
    Flag("prefix", False, "All keys that begin so"),
    Flag("from-key", False, "All keys that are not less"),
)
TXN: Final = (Flag("interactive", False, "Tell what is read", short="i"),)
WATCH: Final = (
    Flag("interactive", False, "Read `watch` and `progress` lines from standard input", short="i"),
    Flag("prefix", False, "All keys that begin so"),
    Flag("rev", 0, "From this revision on"),
    Flag("prev-kv", False, "Show what was there before"),
    Flag("progress-notify", False, "Be told now and then which revision was reached"),
)
LOCK: Final = (Flag("ttl", 10, "Seconds after which the lock of a process that is gone is free"),)
ELECT: Final = (Flag("listen", False, "Tell who leads, without a proposal", short="l"),)
MIRROR: Final = (
    Flag("prefix", "", "Only keys that begin so"),
    Flag("rev", 0, "Only what changed at this revision or later"),
    Flag("max-txn-ops", 128, "How many changes go into one transaction at most", unsigned=True),
    Flag("dest-prefix", "", "Prefix at the destination, in place of the other"),
    Flag("no-dest-prefix", False, "No prefix at the destination"),
    Flag("dest-cert", "", "File of the client's certificate for the destination"),
    Flag("dest-key", "", "File of the client's key for the destination"),
    Flag("dest-cacert", "", "File of the authorities to trust at the destination"),
    Flag("dest-insecure-transport", True, "Connect to the destination without TLS"),
    Flag("dest-user", "", "Name, or name:password, at the destination"),
    Flag("dest-password", "", "Password of --dest-user"),
)
LOAD: Final = (
    Flag("load", "s", "s(small), m(medium), l(large) or xl(xLarge)"),
    Flag("auto-compact", False, "Compact afterwards"),
    Flag("auto-defrag", False, "Defragment afterwards"),
)
PERF: Final = (*LOAD, Flag("prefix", "/etcdctl-check-perf/", "Keys to write; must be free"))
SCALE: Final = (
    *LOAD,
    Flag("prefix", "/etcdctl-check-datascale/", "Keys to write; must be free"),
)
COMPACTION: Final = (Flag("physical", False, "Wait until the old revisions are gone from the disk"),)
RESTORE: Final = (
    Flag("data-dir", "", "Directory to make"),
    Flag("wal-dir", "", "Directory of the log, if it is not to be in the other"),
    Flag("initial-cluster", "default=http://localhost:2380", "All members of the new cluster"),
    Flag("initial-cluster-token", "etcd-cluster", "Token of the new cluster"),
    Flag("initial-advertise-peer-urls", "http://localhost:2380", "Peer URLs of this member"),
    Flag("name", "default", "Name of this member"),
    Flag("skip-hash-check", False, "Take a snapshot without its digest, as a copied database is"),
    Flag("initial-memory-map-size", 10 << 30, "Taken for etcdutl's sake; has no effect", unsigned=True),
    Flag("bump-revision", 0, "How much the revision is raised", unsigned=True),
    Flag("mark-compacted", False, "Take all older revisions as compacted; with --bump-revision"),
)
