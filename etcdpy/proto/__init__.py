"""Wire messages, generated from `protos/` by `protos/generate.py`.

Nothing here is edited but this file and its hand-written neighbours `pool` and `version`.
"""
