"""Auth: users, roles, permissions and tokens.

`AuthStore` is the replicated state and answers who may do what. How a request comes to carry the name of its
user, and at which points it is asked, is the server's and the client port's business.
"""

from etcdpy.auth.errors import (
    AuthError,
    AuthFailed,
    AuthNotEnabled,
    AuthOldRevision,
    BadTokenOptions,
    CorruptAuth,
    InvalidAuthMgmt,
    InvalidAuthToken,
    NoPasswordUser,
    PasswordTooLong,
    PermissionDenied,
    PermissionNotGiven,
    PermissionNotGranted,
    RoleAlreadyExist,
    RoleEmpty,
    RoleNotFound,
    RoleNotGranted,
    RootRoleNotExist,
    RootUserNotExist,
    TokenNotSigned,
    UserAlreadyExist,
    UserEmpty,
    UserNotFound,
    VerifyOnlyKey,
)
from etcdpy.auth.options import make_tokens
from etcdpy.auth.store import ROOT, AuthStore
from etcdpy.auth.tokens import NOBODY, AuthInfo, NoTokens, SimpleTokens, Tokens

__all__ = [
    "AuthStore",
    "AuthInfo",
    "NOBODY",
    "ROOT",
    "Tokens",
    "SimpleTokens",
    "NoTokens",
    "make_tokens",
    "AuthError",
    "AuthFailed",
    "AuthNotEnabled",
    "AuthOldRevision",
    "BadTokenOptions",
    "CorruptAuth",
    "InvalidAuthMgmt",
    "InvalidAuthToken",
    "NoPasswordUser",
    "PasswordTooLong",
    "PermissionDenied",
    "PermissionNotGiven",
    "PermissionNotGranted",
    "RoleAlreadyExist",
    "RoleEmpty",
    "RoleNotFound",
    "RoleNotGranted",
    "RootRoleNotExist",
    "RootUserNotExist",
    "TokenNotSigned",
    "UserAlreadyExist",
    "UserEmpty",
    "UserNotFound",
    "VerifyOnlyKey",
]
