"""URLs of members: parsing with etcd's rules and messages, the `name=url,name=url` map, comparison.

A URL here is a scheme and an address, nothing more: `http://host:port`, `unix:///path` or their TLS forms.
etcd splits URLs with Go's parser and operators know its messages, so the mistakes people really make (no
scheme, no port, a port that is a word, a path) are told in the same words. Lists of URLs are always sorted,
because ids are made from them. Names are never resolved here; who compares by address hands in a resolver.
"""

from __future__ import annotations

import ipaddress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

HTTP_SCHEMES = ("http", "https")
UNIX_SCHEMES = ("unix", "unixs")
SECURE_SCHEMES = ("https", "unixs")


class BadUrl(ValueError):
    """A URL, or a list of them, that etcd would refuse; the text is etcd's."""


class Url(str):
    """One address: text that was checked, so it can stand wherever a URL is wanted as text.

    `host` is the name or IP without brackets, or the path of a unix socket, which has port 0.
    """

    __slots__ = ()

    @classmethod
    def parse(cls, given: str) -> Url:
        given = given.strip()
        scheme, authority, path = split_url(given)
        if scheme in UNIX_SCHEMES:
            return cls(f"{scheme}://{authority}{path}")
        if scheme not in HTTP_SCHEMES:
            raise BadUrl(f"URL scheme must be http, https, unix, or unixs: {given}")
        try:
            split_host_port(authority)
        except ValueError:
            raise BadUrl(f'URL address does not have the form "host:port": {given}') from None
        if path:
            raise BadUrl(f"URL must not contain a path: {given}")
        return cls(f"{scheme}://{authority}")

    @property
    def scheme(self) -> str:
        return self.partition("://")[0]

    @property
    def address(self) -> str:
        """`host:port`, or the path of the socket: what follows the scheme."""
        return self.partition("://")[2]

    @property
    def host(self) -> str:
        return self.address if self.is_unix else split_host_port(self.address)[0]

    @property
    def port(self) -> int:
        return 0 if self.is_unix else int(split_host_port(self.address)[1] or 0)

    @property
    def is_secure(self) -> bool:
        return self.scheme in SECURE_SCHEMES

    @property
    def is_unix(self) -> bool:
        return self.scheme in UNIX_SCHEMES


def parse_urls(texts: Iterable[str]) -> tuple[Url, ...]:
    """All of `texts`, sorted, each URL once; one bad one spoils the list."""
    urls = sorted({Url.parse(text) for text in texts})
    if not urls:
        raise BadUrl("no valid URLs given")
    return tuple(urls)


def split_url(given: str) -> tuple[str, str, str]:
    """Scheme in lower case, authority, and the rest, as Go's parser sees them."""
    colon = given.find(":")
    slash = given.find("/")
    head = given[:colon] if colon >= 0 else ""
    if colon < 0 or (0 <= slash < colon) or not is_scheme(head):
        if colon == 0:
            raise BadUrl(f'parse "{given}": missing protocol scheme')
        if colon > 0 and (slash < 0 or colon < slash):
            raise BadUrl(f'parse "{given}": first path segment in URL cannot contain colon')
        return "", "", given
    rest = given[colon + 1 :]
    if not rest.startswith("//"):
        return head.lower(), "", rest
    rest = rest[2:]
    end = min((place for mark in "/?#" if (place := rest.find(mark)) >= 0), default=len(rest))
    authority = rest[:end]
    check_authority(given, authority)
    return head.lower(), authority.rpartition("@")[2], rest[end:]


def is_scheme(text: str) -> bool:
    return (
        text[:1].isalpha() and text.isascii() and all(letter.isalnum() or letter in "+-." for letter in text)
    )


def check_authority(given: str, authority: str) -> None:
    """The complaints of Go's parser about host and port, and about bytes that no host has."""
    host = authority.rpartition("@")[2]
    if host.startswith("["):
        end = host.rfind("]")
        if end < 0:
            raise BadUrl(f"parse \"{given}\": missing ']' in host")
        tail = host[end + 1 :]
    else:
        colon = host.rfind(":")
        tail = host[colon:] if colon >= 0 else ""
    if tail and not (tail[0] == ":" and (tail[1:] == "" or (tail[1:].isascii() and tail[1:].isdigit()))):
        raise BadUrl(f'parse "{given}": invalid port "{tail}" after host')
    for letter in host:
        if letter in ' "<>\\^`{|}' or ord(letter) < 0x20 or ord(letter) == 0x7F:
            raise BadUrl(f'parse "{given}": invalid character "{letter}" in host name')


def split_host_port(address: str) -> tuple[str, str]:
    """`host` and `port` of `host:port` or `[host]:port`; ValueError for any other form."""
    if address.startswith("["):
        host, bracket, port = address[1:].partition("]")
        if not bracket or not port.startswith(":"):
            raise ValueError(address)
        return host, port[1:]
    host, colon, port = address.rpartition(":")
    if not colon or ":" in host:
        raise ValueError(address)
    return host, port


def check_bind_urls(urls: Iterable[Url]) -> None:
    """A listener needs an IP: a name could move to another machine. `localhost` is let through."""
    for url in urls:
        if not url.is_unix and url.host != "localhost" and not is_ip(url.host):
            raise BadUrl(f"expected IP in URL for binding ({url})")


def check_host_urls(urls: Iterable[Url]) -> None:
    """What is announced to others must name a host."""
    for url in urls:
        if not url.host:
            raise BadUrl(f"unexpected empty host ({url})")


def is_ip(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    # Zones mean nothing on another machine, and Go's ParseIP does not take them.
    return "%" not in host


def parse_initial_cluster(text: str) -> dict[str, tuple[Url, ...]]:
    """`name=url,name=url` as a map of name to sorted URLs; a name given twice has several."""
    urls_by_name: dict[str, list[str]] = {}
    for part in text.split(","):
        if part:
            name, _, url = part.partition("=")
            urls_by_name.setdefault(name, []).append(url)
    return {name: tuple(sorted(Url.parse(url) for url in urls)) for name, urls in urls_by_name.items()}


def format_initial_cluster(urls_by_name: Mapping[str, Sequence[str]]) -> str:
    """The map as the flag takes it, sorted."""
    return ",".join(sorted(f"{name}={url}" for name, urls in urls_by_name.items() for url in urls))


def url_difference(
    left: Sequence[str], right: Sequence[str], resolve: Callable[[str], str] | None = None
) -> str | None:
    """Why the two lists are not the same addresses, or None if they are.

    Texts are compared first; only lists that differ are resolved: `resolve` turns a URL into one with an IP
    for a host (and leaves `localhost` alone), or raises OSError.
    """
    left, right = sorted(left), sorted(right)
    if len(left) != len(right):
        return f"len({quote_list(left)}) != len({quote_list(right)})"
    if left == right:
        return None
    if resolve is None:
        resolve = str
    try:
        resolved_left = sorted((resolve(url), url) for url in left)
        resolved_right = sorted((resolve(url), url) for url in right)
    except OSError as error:
        return f"failed to resolve {error}"
    for (one, before_one), (other, before_other) in zip(resolved_left, resolved_right, strict=True):
        if one != other:
            return f'"{one}"(resolved from "{before_one}") != "{other}"(resolved from "{before_other}")'
    return None


def quote_list(texts: Iterable[str]) -> str:
    return "[" + " ".join(f'"{text}"' for text in texts) + "]"
