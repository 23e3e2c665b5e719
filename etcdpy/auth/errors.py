"""What users, roles and tokens can refuse. The texts that clients see are in the rpc room's table."""


class AuthError(Exception):
    """Base of what this room refuses."""


class RootUserNotExist(AuthError):
    """AuthEnable without the user root."""


class RootRoleNotExist(AuthError):
    """AuthEnable while the user root lacks the role root."""


class UserAlreadyExist(AuthError):
    """UserAdd of a known name."""


class UserEmpty(AuthError):
    """A user is needed and none was named."""


class UserNotFound(AuthError):
    """No such user."""


class RoleAlreadyExist(AuthError):
    """RoleAdd of a known name."""


class RoleNotFound(AuthError):
    """No such role."""


class RoleEmpty(AuthError):
    """RoleAdd without a name."""


class AuthFailed(AuthError):
    """Unknown user or wrong password."""


class NoPasswordUser(AuthError):
    """A password was given for a user that has none."""


class PasswordTooLong(AuthError):
    """More than the 72 bytes that bcrypt takes."""


class VerifyOnlyKey(AuthError):
    """The token provider has no private key to sign with."""


class PermissionNotGiven(AuthError):
    """RoleGrantPermission without a permission."""


class PermissionDenied(AuthError):
    """The user may not do this."""


class RoleNotGranted(AuthError):
    """UserRevokeRole of a role the user has not."""


class PermissionNotGranted(AuthError):
    """RoleRevokePermission of a permission the role has not."""


class AuthNotEnabled(AuthError):
    """Authenticate while auth is off."""


class InvalidAuthToken(AuthError):
    """A token that nobody gave out, or an expired one."""


class InvalidAuthMgmt(AuthError):
    """A change that would lock everybody out, or a permission on an impossible range."""


class AuthOldRevision(AuthError):
    """Users or roles changed between the check of a request and its execution."""


class TokenNotSigned(AuthError):
    """The key does not fit the method that tokens are to be signed with."""

    def __str__(self) -> str:
        """In the words of the library that etcd signs with."""
        return "key is invalid"


class BadTokenOptions(AuthError):
    """`--auth-token` cannot be understood, or its keys cannot be read; the text is etcd's."""

    def __init__(self, text: str = "auth: invalid auth options") -> None:
        super().__init__(text)


class CorruptAuth(AuthError):
    """What the backend keeps of users and roles cannot be read; the text says what."""
