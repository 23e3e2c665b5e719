"""The peer port: raft messages between members, on etcd's own protocol.

`transport` sends and decides which channel a message takes; `remote` is one other member with its
streams and its pipeline; `listener` answers what other members ask of us; `codec` cuts streams into
messages and knows no socket. Facts and section numbers in this room are those of etcd's rafthttp
protocol.
"""
