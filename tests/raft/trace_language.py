"""The language of `traces/*.txt`: a story of a cluster, told in commands, with what happens after each of
them.

    # Lines like this one are comments.
    > cluster voters=1,2,3
    > campaign 1
      1 became_pre_candidate term=0
    > settle
      1 ready: role=PRE_CANDIDATE ...

A line that begins with `>` is a command; the indented lines after it are what it must print. What it prints
is whatever the core reports through its trace callback, plus what the command itself has to show: the
contents of a Ready, messages delivered or lost, states, logs. Run the tests with ETCDPY_REWRITE_TRACES=1 to
write what is printed now into the files, then read the difference.

Commands, with ids of members as plain numbers:

    cluster voters=1,2,3 [learners=4] [strangers=5] [index=1 term=1] [pre_vote=off ...]   begin; settings by
    name give ID TERM... [term=N] [vote=ID] [commit=N]   restart a member with entries of these terms on its
    disk campaign ID | tick ID [COUNT] | forget ID propose ID DATA... | change ID [v1|implicit|explicit] +ID
    -ID ~ID (~ makes a learner) | leave ID read ID CONTEXT | transfer ID TO | unreachable ID OF | report ID OF
    ok|failed turn ID...                    one Ready each: shown, saved, sent, applied, advanced deliver
    [to=ID] [from=ID] [type=NAME]     hand over messages in flight; `lose` with the same words loses them
    settle [quiet]                turn and deliver until nothing moves cut A-B... | isolate ID | heal |
    restart ID snapshot ID [INDEX] | compact ID INDEX state [ID...] | progress ID | log ID | members ID |
    applied ID
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from etcdpy.raft.errors import RaftError
from etcdpy.raft.messages import (
    ConfChange,
    ConfChangeSingle,
    ConfChangeTransition,
    ConfChangeType,
    ConfChangeV2,
    ConfState,
    Entry,
    EntryType,
    HardState,
    Message,
    MessageType,
    Ready,
)
from tests.raft.network import STEPS_MAX, Disk, Network, log_of

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

INDENT = "  "
_CHANGES = {
    "+": ConfChangeType.ADD_NODE,
    "-": ConfChangeType.REMOVE_NODE,
    "~": ConfChangeType.ADD_LEARNER_NODE,
}


def rewritten(text: str) -> str:
    """The same story with what its commands print now."""
    run = Run()
    out: list[str] = []
    for line in text.splitlines():
        if line.startswith(">"):
            out.append(line)
            out += [INDENT + printed for printed in run.command(line[1:].split())]
        elif not line.startswith(INDENT):
            out.append(line)
    return "\n".join(out) + "\n"


class Run:
    """One story: a network and what it printed since the last command."""

    def __init__(self) -> None:
        self.network = Network(())
        self.lines: list[str] = []

    def command(self, words: Sequence[str]) -> list[str]:
        name, *arguments = words
        try:
            getattr(self, f"do_{name}")(*arguments)
        except RaftError as error:
            self.lines.append(f"{type(error).__name__}: {error}")
        printed, self.lines = self.lines, []
        return printed

    def _trace(self, event: str, facts: Mapping[str, object]) -> None:
        rest = " ".join(f"{name}={_fact(value)}" for name, value in facts.items() if name != "id")
        self.lines.append(f"{facts['id']} {event} {rest}")

    # ---- the cluster and its faults

    def do_cluster(self, *words: str) -> None:
        given = dict(word.split("=") for word in words)
        ids = {name: _ids(given.pop(name, "")) for name in ("voters", "learners", "strangers")}
        options: dict[str, object] = {name: _setting(value) for name, value in given.items()}
        self.network = Network(**ids, **options, trace=self._trace)  # type: ignore[arg-type]
        self.lines.clear()

    def do_give(self, id_: str, *words: str) -> None:
        terms = [int(word) for word in words if "=" not in word]
        given = {name: int(value) for name, value in (word.split("=") for word in words if "=" in word)}
        member = self.network.members[int(id_)]
        hard_state = HardState(
            given.get("term", max(terms, default=0)), given.get("vote", 0), given.get("commit", 0)
        )
        member.disk = Disk(
            hard_state, member.disk.snapshot, log_of(*terms, first=member.disk.snapshot.index + 1)
        )
        member.restart()
        self.lines.clear()
        self.do_log(id_)

    def do_restart(self, id_: str) -> None:
        self.network.members[int(id_)].restart()

    def do_cut(self, *pairs: str) -> None:
        self.network.cut(*((int(one), int(other)) for one, other in (pair.split("-") for pair in pairs)))

    def do_isolate(self, id_: str) -> None:
        self.network.isolate(int(id_))

    def do_heal(self) -> None:
        self.network.heal()

    # ---- what goes into a member

    def do_campaign(self, id_: str) -> None:
        self.network[int(id_)].campaign()

    def do_tick(self, id_: str, count: str = "1") -> None:
        self.network.tick(int(id_), int(count))

    def do_forget(self, id_: str) -> None:
        self.network[int(id_)].forget_leader()

    def do_propose(self, id_: str, *datas: str) -> None:
        self.network[int(id_)].propose([data.encode() for data in datas])

    def do_change(self, id_: str, *words: str) -> None:
        steps = [ConfChangeSingle(_CHANGES[word[0]], int(word[1:])) for word in words if word[0] in _CHANGES]
        change: ConfChange | ConfChangeV2 = ConfChangeV2(steps)
        if "v1" in words:
            change = ConfChange(steps[0].type, steps[0].node_id)
        elif "implicit" in words or "explicit" in words:
            explicit = ConfChangeTransition.JOINT_EXPLICIT
            change = ConfChangeV2(
                steps, explicit if "explicit" in words else ConfChangeTransition.JOINT_IMPLICIT
            )
        self.network[int(id_)].propose_conf_change(change)

    def do_leave(self, id_: str) -> None:
        self.network[int(id_)].propose_conf_change(ConfChangeV2())

    def do_read(self, id_: str, context: str) -> None:
        self.network[int(id_)].read_index(context.encode())

    def do_transfer(self, id_: str, to: str) -> None:
        self.network[int(id_)].transfer_leader(int(to))

    def do_unreachable(self, id_: str, of: str) -> None:
        self.network[int(id_)].report_unreachable(int(of))

    def do_report(self, id_: str, of: str, outcome: str) -> None:
        self.network[int(id_)].report_snapshot(int(of), outcome == "ok")

    def do_snapshot(self, id_: str, index: str = "0") -> None:
        self.network.members[int(id_)].make_snapshot(int(index))

    def do_compact(self, id_: str, index: str) -> None:
        self.network[int(id_)].compact(int(index))

    # ---- moving

    def do_turn(self, *ids: str) -> None:
        for id_ in ids:
            self._turn(int(id_))

    def _turn(self, id_: int) -> None:
        before = len(self.lines)
        ready = self.network.turn(id_)
        # What the Ready contains comes first, then what its application caused.
        self.lines[before:before] = _shown_ready(id_, ready)

    def do_deliver(self, *words: str) -> None:
        wanted = _filter(words)
        for message in [one for one in self.network.in_flight if wanted(one)]:
            self.lines.append(f"deliver {_shown(message)}")
            self.network.deliver(lambda one, this=message: one is this)  # type: ignore[misc]

    def do_lose(self, *words: str) -> None:
        wanted = _filter(words)
        self.lines += [f"lost {_shown(one)}" for one in self.network.in_flight if wanted(one)]
        self.network.in_flight = [one for one in self.network.in_flight if not wanted(one)]

    def do_settle(self, how: str = "") -> None:
        for _ in range(STEPS_MAX):
            ids = [id_ for id_, member in sorted(self.network.members.items()) if member.node.has_ready()]
            for id_ in ids:
                self._turn(id_)
            if not self.network.deliver() and not ids:
                break
        if how == "quiet":
            self.lines.clear()

    # ---- looking

    def do_state(self, *ids: str) -> None:
        for id_ in map(int, ids) if ids else sorted(self.network.members):
            node = self.network[id_]
            self.lines.append(
                f"{id_} {node.role.name} term={node.term} vote={node.vote} leader={node.leader} "
                f"commit={node.commit} applied={node.applied} first={node.first_index} last={node.last_index}"
            )

    def do_progress(self, id_: str) -> None:
        for other, progress in self.network[int(id_)].status().progress_by_id.items():
            words = [f"{other} {progress.state.name.lower()} match={progress.match} next={progress.next}"]
            words += ["learner"] if progress.is_learner else []
            words += ["paused"] if progress.is_paused else []
            words += ["inactive"] if not progress.is_active else []
            words += [f"pending_snapshot={progress.pending_snapshot}"] if progress.pending_snapshot else []
            words += [f"inflight={progress.inflight_messages}"] if progress.inflight_messages else []
            self.lines.append(" ".join(words))

    def do_log(self, id_: str) -> None:
        node = self.network[int(id_)]
        terms = " ".join(
            f"{index}/{node.term_at(index)}" for index in range(node.first_index - 1, node.last_index + 1)
        )
        self.lines.append(f"{id_} log after {terms}")

    def do_members(self, id_: str) -> None:
        self.lines.append(f"{id_} {_shown_conf_state(self.network[int(id_)].conf_state)}")

    def do_applied(self, id_: str) -> None:
        self.lines.append(
            f"{id_} applied {' '.join(map(_shown_entry, self.network.members[int(id_)].applied))}"
        )


def _ids(text: str) -> list[int]:
    return [int(word) for word in text.split(",") if word]


def _setting(value: str) -> object:
    return {"on": True, "off": False}.get(value, int(value) if value.isdigit() else value)


def _fact(value: object) -> object:
    if isinstance(value, ConfState):
        return f"({_shown_conf_state(value)})"
    return str(value).replace(" ", "_")


def _filter(words: Sequence[str]) -> Callable[[Message], bool]:
    given = dict(word.split("=") for word in words)

    def wanted(message: Message) -> bool:
        return (
            str(message.to) == given.get("to", str(message.to))
            and str(message.from_) == given.get("from", str(message.from_))
            and message.type.name == given.get("type", message.type.name)
        )

    return wanted


def _shown_entry(entry: Entry) -> str:
    data = entry.data.decode() if entry.type is EntryType.NORMAL else entry.type.name.lower()
    return f"{entry.index}/{entry.term}" + (f":{data}" if data else "")


def _shown_conf_state(state: ConfState) -> str:
    words = [f"voters={state.voters}"]
    words += [f"outgoing={state.voters_outgoing}"] if state.voters_outgoing else []
    words += [f"learners={state.learners}"] if state.learners else []
    words += [f"learners_next={state.learners_next}"] if state.learners_next else []
    words += ["auto_leave"] if state.auto_leave else []
    return " ".join(words).replace(", ", ",")


def _shown(message: Message) -> str:
    words = [f"{message.from_}>{message.to} {message.type.name} term={message.term}"]
    if message.type in (MessageType.APP, MessageType.VOTE, MessageType.PRE_VOTE):
        words.append(f"at={message.index}/{message.log_term}")
    elif message.type in (MessageType.APP_RESP, MessageType.READ_INDEX_RESP):
        words.append(f"index={message.index}")
    if message.type in (MessageType.APP, MessageType.HEARTBEAT):
        words.append(f"commit={message.commit}")
    if message.snapshot is not None:
        state = _shown_conf_state(message.snapshot.conf_state)
        words.append(f"snapshot={message.snapshot.index}/{message.snapshot.term} ({state})")
    if message.reject:
        words.append("rejected")
        if message.type is MessageType.APP_RESP:
            words.append(f"hint={message.reject_hint}/{message.log_term}")
    words += [f"context={message.context.decode()}"] if message.context else []
    words += [f"[{' '.join(map(_shown_entry, message.entries))}]"] if message.entries else []
    return " ".join(words)


def _shown_ready(id_: int, ready: Ready) -> list[str]:
    head = []
    if ready.soft_state is not None:
        head.append(f"role={ready.soft_state.role.name} leader={ready.soft_state.leader}")
    if ready.hard_state is not None:
        state = ready.hard_state
        head.append(f"term={state.term} vote={state.vote} commit={state.commit}")
    head += ["sync"] if ready.must_sync else []
    lines = [f"{id_} ready: {' '.join(head)}".rstrip(" ")]
    if ready.snapshot is not None:
        lines.append(f"  snapshot {ready.snapshot.index}/{ready.snapshot.term}")
    if ready.entries:
        lines.append(f"  save {' '.join(map(_shown_entry, ready.entries))}")
    lines += [f"  send {_shown(message)}" for message in ready.messages]
    if ready.committed_entries:
        lines.append(f"  apply {' '.join(map(_shown_entry, ready.committed_entries))}")
    lines += [f"  read {state.context.decode()} at {state.index}" for state in ready.read_states]
    return lines
