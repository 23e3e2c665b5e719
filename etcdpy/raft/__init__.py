"""The Raft state machine, and nothing else: no socket, clock, thread, file or random source of its own.

Users import four modules: `raw_node` (the door), `messages` (what goes in and comes out), `codec` (the same
as raftpb bytes) and `errors`. Behind the door, `core` holds the state and the rules every role shares;
`election`, `follower`, `leader` and `replication` hold what a role does with a message; `log`, `progress`,
`quorum`, `confchange` and `read_only` are the parts they work with, each knowing only its own subject.
"""
