"""Commands about users and roles: `auth`, `user` and `role`. None of them has a time limit, as in etcdctl."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Any, Final

from etcdpy.client import rpcs
from etcdpy.client.errors import EtcdError
from etcdpy.ctl import ctl_answers as answers
from etcdpy.ctl.ctl_session import ask_password, go_error, open_session
from etcdpy.ctl.output import EXIT_BAD_ARGUMENTS, Fault
from etcdpy.proto import auth_pb2 as auth
from etcdpy.proto import rpc_pb2 as pb

if TYPE_CHECKING:
    from collections.abc import Sequence

    from etcdpy.client.rpcs import UnaryRpc
    from etcdpy.ctl.command_line import Options
    from etcdpy.ctl.ctl_session import Session

NO_ROOT_ROLE: Final = "etcdserver: root user does not have root role"
ROLE_EXISTS: Final = "etcdserver: role name already exists"
ROOT: Final = "root"


def _check_count(arguments: Sequence[str], count: int, text: str) -> None:
    if len(arguments) != count:
        raise Fault(text, EXIT_BAD_ARGUMENTS)


def _ask(session: Session, rpc: UnaryRpc[Any, Any], request: Any) -> Any:
    return session.call(rpc, request, endless=True)


def auth_enable(arguments: Sequence[str], options: Options) -> None:
    """Ask for users from now on. The root user is given the root role if it lacks that."""
    _check_count(arguments, 0, "auth enable command does not accept any arguments")
    session = open_session(options)
    try:
        session.try_call(rpcs.AUTH_ENABLE, pb.AuthEnableRequest())
    except EtcdError as error:
        if error.text != NO_ROOT_ROLE:
            raise Fault(go_error(error)) from error
        _grant_root(session)
        session.call(rpcs.AUTH_ENABLE, pb.AuthEnableRequest())
    answers.write("Authentication Enabled\n")


def _grant_root(session: Session) -> None:
    try:
        session.try_call(rpcs.ROLE_ADD, pb.AuthRoleAddRequest(name=ROOT))
    except EtcdError as error:
        if error.text != ROLE_EXISTS:
            raise Fault(go_error(error)) from error
    session.call(rpcs.USER_GRANT_ROLE, pb.AuthUserGrantRoleRequest(user=ROOT, role=ROOT))


def auth_disable(arguments: Sequence[str], options: Options) -> None:
    """Ask nobody any more."""
    _check_count(arguments, 0, "auth disable command does not accept any arguments")
    open_session(options).call(rpcs.AUTH_DISABLE, pb.AuthDisableRequest())
    answers.write("Authentication Disabled\n")


def auth_status(arguments: Sequence[str], options: Options) -> None:
    """Tell whether users are asked for."""
    _check_count(arguments, 0, "auth status command does not accept any arguments")
    session = open_session(options)
    session.show(answers.auth_status(session.call(rpcs.AUTH_STATUS, pb.AuthStatusRequest())))


def user_add(arguments: Sequence[str], options: Options) -> None:
    """Make a user."""
    _check_count(arguments, 1, "user add command requires user name as its argument")
    name, password = arguments[0], ""
    without = options.is_set("no-password")
    if not without:
        password = options.text("new-user-password")
        if not password:
            head, colon, tail = name.partition(":")
            if colon and not head:
                raise Fault("empty user name is not allowed", EXIT_BAD_ARGUMENTS)
            name, password = (head, tail) if colon else (name, _new_password(name, options))
    session = open_session(options)
    request = pb.AuthUserAddRequest(
        name=name, password=password, options=auth.UserAddOptions(no_password=without)
    )
    session.show(answers.plain(_ask(session, rpcs.USER_ADD, request), f"User {name} created"))


def _new_password(name: str, options: Options) -> str:
    if not options.is_set("interactive"):
        return _first_word()
    first = ask_password(f"Password of {name}: ")
    if not first:
        raise Fault("empty password", EXIT_BAD_ARGUMENTS)
    if ask_password(f"Type password of {name} again for confirmation: ") != first:
        raise Fault("given passwords are different", EXIT_BAD_ARGUMENTS)
    return first


def _first_word() -> str:
    words = sys.stdin.readline().split()
    return words[0] if words else ""


def user_delete(arguments: Sequence[str], options: Options) -> None:
    """Remove a user."""
    _check_count(arguments, 1, "user delete command requires user name as its argument")
    session = open_session(options)
    response = _ask(session, rpcs.USER_DELETE, pb.AuthUserDeleteRequest(name=arguments[0]))
    session.show(answers.plain(response, f"User {arguments[0]} deleted"))


def user_get(arguments: Sequence[str], options: Options) -> None:
    """Tell a user's roles."""
    _check_count(arguments, 1, "user get command requires user name as its argument")
    name = arguments[0]
    session = open_session(options)
    response = _ask(session, rpcs.USER_GET, pb.AuthUserGetRequest(name=name))
    if not options.is_set("detail"):
        session.show(answers.user(response, name))
        return
    answers.write(f"User: {name}\n")
    for role in response.roles:
        answers.write("\n")
        session.show(answers.role(_ask(session, rpcs.ROLE_GET, pb.AuthRoleGetRequest(role=role)), role))


def user_list(arguments: Sequence[str], options: Options) -> None:
    """Tell all users' names."""
    _check_count(arguments, 0, "user list command requires no arguments")
    session = open_session(options)
    session.show(answers.users(_ask(session, rpcs.USER_LIST, pb.AuthUserListRequest())))


def user_passwd(arguments: Sequence[str], options: Options) -> None:
    """Change a password."""
    _check_count(arguments, 1, "user passwd command requires user name as its argument")
    password = _new_password(arguments[0], options)
    session = open_session(options)
    request = pb.AuthUserChangePasswordRequest(name=arguments[0], password=password)
    session.show(answers.plain(_ask(session, rpcs.USER_CHANGE_PASSWORD, request), "Password updated"))


def user_grant_role(arguments: Sequence[str], options: Options) -> None:
    """Give a role to a user."""
    _check_count(arguments, 2, "user grant command requires user name and role name as its argument")
    user, role = arguments
    session = open_session(options)
    response = _ask(session, rpcs.USER_GRANT_ROLE, pb.AuthUserGrantRoleRequest(user=user, role=role))
    session.show(answers.plain(response, f"Role {role} is granted to user {user}"))


def user_revoke_role(arguments: Sequence[str], options: Options) -> None:
    """Take a role from a user."""
    _check_count(arguments, 2, "user revoke-role requires user name and role name as its argument")
    user, role = arguments
    session = open_session(options)
    response = _ask(session, rpcs.USER_REVOKE_ROLE, pb.AuthUserRevokeRoleRequest(name=user, role=role))
    session.show(answers.plain(response, f"Role {role} is revoked from user {user}"))


def role_add(arguments: Sequence[str], options: Options) -> None:
    """Make a role."""
    _check_count(arguments, 1, "role add command requires role name as its argument")
    session = open_session(options)
    response = _ask(session, rpcs.ROLE_ADD, pb.AuthRoleAddRequest(name=arguments[0]))
    session.show(answers.plain(response, f"Role {arguments[0]} created"))


def role_delete(arguments: Sequence[str], options: Options) -> None:
    """Remove a role."""
    _check_count(arguments, 1, "role delete command requires role name as its argument")
    session = open_session(options)
    response = _ask(session, rpcs.ROLE_DELETE, pb.AuthRoleDeleteRequest(role=arguments[0]))
    session.show(answers.plain(response, f"Role {arguments[0]} deleted"))


def role_get(arguments: Sequence[str], options: Options) -> None:
    """Tell what a role permits."""
    _check_count(arguments, 1, "role get command requires role name as its argument")
    session = open_session(options)
    response = _ask(session, rpcs.ROLE_GET, pb.AuthRoleGetRequest(role=arguments[0]))
    session.show(answers.role(response, arguments[0]))


def role_list(arguments: Sequence[str], options: Options) -> None:
    """Tell all roles' names."""
    _check_count(arguments, 0, "role list command requires no arguments")
    session = open_session(options)
    session.show(answers.roles(_ask(session, rpcs.ROLE_LIST, pb.AuthRoleListRequest())))


def role_grant_permission(arguments: Sequence[str], options: Options) -> None:
    """Let a role read, write or both."""
    if len(arguments) < 3:
        text = "role grant command requires role name, permission type, and key [endkey] as its argument"
        raise Fault(text, EXIT_BAD_ARGUMENTS)
    role, kind = arguments[:2]
    if kind.upper() not in auth.Permission.Type.keys():  # noqa: SIM118 - protobuf's wrapper is no mapping
        raise Fault(f"invalid permission type: {kind}", EXIT_BAD_ARGUMENTS)
    key, end = _range(arguments[2:], options)
    session = open_session(options)
    permission = auth.Permission(permType=kind.upper(), key=key, range_end=end)
    request = pb.AuthRoleGrantPermissionRequest(name=role, perm=permission)
    response = _ask(session, rpcs.ROLE_GRANT_PERMISSION, request)
    session.show(answers.plain(response, f"Role {role} updated"))


def role_revoke_permission(arguments: Sequence[str], options: Options) -> None:
    """Take a permission from a role."""
    if len(arguments) < 2:
        text = "role revoke-permission command requires role name and key [endkey] as its argument"
        raise Fault(text, EXIT_BAD_ARGUMENTS)
    role = arguments[0]
    key, end = _range(arguments[1:], options)
    session = open_session(options)
    request = pb.AuthRoleRevokePermissionRequest(role=role, key=key, range_end=end)
    response = _ask(session, rpcs.ROLE_REVOKE_PERMISSION, request)
    first, last = (part.decode("utf-8", "surrogateescape") for part in (key, end))
    if not end:
        shown = f"key {first}"
    elif end == answers.OPEN_END:
        shown = f"range [{first}, <open ended>"
    else:
        shown = f"range [{first}, {last})"
    session.show(answers.plain(response, f"Permission of {shown} is revoked from role {role}"))


def _range(words: Sequence[str], options: Options) -> tuple[bytes, bytes]:
    prefix, from_key = options.is_set("prefix"), options.is_set("from-key")
    key = os.fsencode(words[0])
    if len(words) > 1:
        for name, is_set in (("prefix", prefix), ("from-key", from_key)):
            if is_set:
                raise Fault(f"unexpected endkey argument with --{name} flag", EXIT_BAD_ARGUMENTS)
        return key, os.fsencode(words[1])
    if prefix and from_key:
        raise Fault("--from-key and --prefix flags are mutually exclusive", EXIT_BAD_ARGUMENTS)
    if prefix:
        return key or b"\0", answers.prefix_end(key)
    return (key or b"\0", answers.OPEN_END) if from_key else (key, b"")
