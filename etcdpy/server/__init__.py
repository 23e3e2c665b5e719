"""The member: what it decides, what it applies, what it does by itself.

`member` is the decision and `driver` turns its crank; `apply` and `txn` change the state, `read`
keeps reads linearizable, `bootstrap` makes all of it from a data directory. `config*` and `log` are
what a member is told and what it tells. No module here opens a socket or waits.
"""
