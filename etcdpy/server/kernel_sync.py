"""Bringing a file to disk while the loop goes on, without a thread: Linux's asynchronous `fdatasync`.

A thread that has waited for the disk must wait for the interpreter again before it can say so, up to half
a millisecond under load, and each exchange costs both sides. The kernel can do the waiting instead:
`io_submit(2)` with `IOCB_CMD_FDSYNC` hands the sync to one of its own workers, and an eventfd that the loop
listens to tells when it is done. No library for these calls is everywhere, so they are made by number.

Where they are missing (another system, a sandbox that forbids them, a file system that does not know the
command) `open_kernel_sync` gives None, or `start` says so, and the caller does without.
"""

from __future__ import annotations

import ctypes
import errno
import os
import platform
import struct
import sys
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable

    AddReader = Callable[[int, Callable[[], None]], None]
    RemoveReader = Callable[[int], bool]


class _Numbers(NamedTuple):
    setup: int
    destroy: int
    submit: int
    getevents: int


# By machine, from the kernel's tables of system calls.
_NUMBERS: Final = {"x86_64": _Numbers(206, 207, 209, 208), "aarch64": _Numbers(0, 1, 2, 4)}

# struct iocb of linux/aio_abi.h: data, key, rw_flags, opcode, priority, descriptor, buffer, bytes, offset,
# reserved, flags, eventfd. Both machines are little-endian.
_IOCB: Final = struct.Struct("<QIIHhIQQqQII")
_FDSYNC: Final = 3
_TELL_EVENTFD: Final = 1
# struct io_event: data, object, result, second result.
_EVENT: Final = struct.Struct("<QQqq")


class KernelSync:
    """One sync at a time, and who waits for it.

    Made by `open_kernel_sync`. `done(error)` is called on the loop thread, once for each `start` that said
    True.
    """

    def __init__(
        self, numbers: _Numbers, context: ctypes.c_ulong, add_reader: AddReader, remove_reader: RemoveReader
    ) -> None:
        self._numbers = numbers
        self._context = context
        self._remove_reader = remove_reader
        self._eventfd = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._iocb = ctypes.create_string_buffer(_IOCB.size)
        self._iocbs = (ctypes.c_void_p * 1)(ctypes.addressof(self._iocb))
        self._event = ctypes.create_string_buffer(_EVENT.size)
        self._done: Callable[[OSError | None], None] | None = None
        add_reader(self._eventfd, self._look)

    @property
    def is_busy(self) -> bool:
        """Whether a sync is under way."""
        return self._done is not None

    def start(self, descriptor: int, done: Callable[[OSError | None], None]) -> bool:
        """Begin to bring a file to disk. False when the kernel does not do that for this file."""
        assert self._done is None, "one sync at a time"
        _IOCB.pack_into(
            self._iocb, 0, 0, 0, 0, _FDSYNC, 0, descriptor, 0, 0, 0, 0, _TELL_EVENTFD, self._eventfd
        )
        if _syscall(self._numbers.submit, self._context, ctypes.c_long(1), self._iocbs) != 1:
            return False
        self._done = done
        return True

    def finish(self) -> None:
        """Wait for the sync that is under way, if there is one, and tell its `done`."""
        self._collect(1)

    def close(self) -> None:
        """Finish, and give everything back."""
        self.finish()
        self._remove_reader(self._eventfd)
        os.close(self._eventfd)
        _syscall(self._numbers.destroy, self._context)

    def _look(self) -> None:
        try:
            os.eventfd_read(self._eventfd)
        except BlockingIOError:
            return  # `finish` has been here before
        self._collect(0)

    def _collect(self, at_least: int) -> None:
        done = self._done
        if done is None:
            return
        while True:
            found = _syscall(
                self._numbers.getevents,
                self._context,
                ctypes.c_long(at_least),
                ctypes.c_long(1),
                self._event,
                None,
            )
            if found >= 0 or ctypes.get_errno() != errno.EINTR:
                break
        if found == 0:
            return
        self._done = None
        result = _EVENT.unpack(self._event.raw)[2] if found == 1 else -ctypes.get_errno()
        done(OSError(-result, os.strerror(-result)) if result < 0 else None)


def open_kernel_sync(add_reader: AddReader, remove_reader: RemoveReader) -> KernelSync | None:
    """The kernel's help, None where there is none."""
    numbers = _NUMBERS.get(platform.machine()) if sys.platform == "linux" else None
    if numbers is None:
        return None
    context = ctypes.c_ulong(0)
    if _syscall(numbers.setup, ctypes.c_uint(1), ctypes.byref(context)) != 0:
        return None
    return KernelSync(numbers, context, add_reader, remove_reader)


if sys.platform == "linux":
    # `PyDLL` keeps the interpreter for itself during the call. Only `finish` ever waits in one, when there is
    # nothing else to be done.
    _syscall = ctypes.PyDLL(None, use_errno=True).syscall
    _syscall.restype = ctypes.c_long
