"""Passwords as etcd keeps them."""

from __future__ import annotations

import pytest

from etcdpy.auth import NoPasswordUser, PasswordTooLong, passwords


@pytest.mark.parametrize("password", ["", "p", "p\0q", "ключ", "x" * 72])
def test_a_password_is_known_again(password: str) -> None:
    hashed = passwords.hash_password(passwords.check_length(password), 4)
    assert hashed.startswith(b"$2a$04$")
    assert passwords.is_password(password, hashed)
    assert not passwords.is_password(password[:-1] if password else "x", hashed)


def test_longer_ones_are_refused_when_they_are_set_and_cut_when_they_are_compared() -> None:
    with pytest.raises(PasswordTooLong):
        passwords.check_length("x" * 73)
    with pytest.raises(PasswordTooLong):
        passwords.check_length("ы" * 37)
    hashed = passwords.hash_password(b"x" * 72, 4)
    assert passwords.is_password("x" * 100, hashed)


@pytest.mark.parametrize("kept", [b"", b"junk", b"$2a$04$short"])
def test_what_is_no_hash_is_no_password(kept: bytes) -> None:
    assert not passwords.is_password("", kept)


@pytest.mark.parametrize(
    ("given", "used"), [(4, 4), (10, 10), (31, 31), (3, 10), (32, 10), (0, 10), (-1, 10)]
)
def test_the_cost(given: int, used: int) -> None:
    assert passwords.effective_cost(given) == used


def test_through_the_log() -> None:
    hashed = passwords.hash_password(b"pw", 4)
    assert passwords.from_wire("", passwords.to_wire(hashed), 4) == hashed
    assert passwords.from_wire("", "", 4) == b""
    # Entries of releases before 3.5 bring the password itself.
    assert passwords.is_password("old", passwords.from_wire("old", "", 4))
    with pytest.raises(NoPasswordUser):
        passwords.from_wire("", "no base64!", 4)
