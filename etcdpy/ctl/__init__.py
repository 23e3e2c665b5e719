"""The command-line tools around a member: `etcdpyutl` for files, `etcdpyctl` for a running cluster."""
