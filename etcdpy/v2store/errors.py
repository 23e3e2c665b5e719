"""The refusals of the v2 API, which clients tell apart by number."""

from __future__ import annotations

from enum import IntEnum


class Code(IntEnum):
    """Numbers of refusals, as etcd documents them."""

    KEY_NOT_FOUND = 100
    TEST_FAILED = 101
    NOT_FILE = 102
    NOT_DIRECTORY = 104
    NODE_EXISTS = 105
    ROOT_READ_ONLY = 107
    DIRECTORY_NOT_EMPTY = 108
    UNAUTHORIZED = 110
    PREV_VALUE_REQUIRED = 201
    TTL_NOT_A_NUMBER = 202
    INDEX_NOT_A_NUMBER = 203
    INVALID_FIELD = 209
    INVALID_FORM = 210
    REFRESH_VALUE = 211
    REFRESH_TTL_REQUIRED = 212
    RAFT_INTERNAL = 300
    EVENT_INDEX_CLEARED = 401


MESSAGES = {
    Code.KEY_NOT_FOUND: "Key not found",
    Code.TEST_FAILED: "Compare failed",
    Code.NOT_FILE: "Not a file",
    Code.NOT_DIRECTORY: "Not a directory",
    Code.NODE_EXISTS: "Key already exists",
    Code.ROOT_READ_ONLY: "Root is read only",
    Code.DIRECTORY_NOT_EMPTY: "Directory not empty",
    Code.UNAUTHORIZED: "The request requires user authentication",
    Code.PREV_VALUE_REQUIRED: "PrevValue is Required in POST form",
    Code.TTL_NOT_A_NUMBER: "The given TTL in POST form is not a number",
    Code.INDEX_NOT_A_NUMBER: "The given index in POST form is not a number",
    Code.INVALID_FIELD: "Invalid field",
    Code.INVALID_FORM: "Invalid POST form",
    Code.REFRESH_VALUE: "Value provided on refresh",
    Code.REFRESH_TTL_REQUIRED: "A TTL must be provided on refresh",
    Code.RAFT_INTERNAL: "Raft Internal Error",
    Code.EVENT_INDEX_CLEARED: "The event in requested index is outdated and cleared",
}


class V2Error(Exception):
    """A refusal: what, about which key, and at which index of the store (0 where none is told)."""

    def __init__(self, code: Code, cause: str, index: int = 0) -> None:
        super().__init__(f"{MESSAGES[code]} ({cause})")
        self.code = code
        self.cause = cause
        self.index = index


class StoreFault(Exception):
    """What etcd's store refuses without a number; clients see it as `Raft Internal Error`."""
