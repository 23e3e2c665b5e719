"""`python -m etcdpy` is the `etcdpy` command."""

from etcdpy.cli import main

raise SystemExit(main())
