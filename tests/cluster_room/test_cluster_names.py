"""Ids, URLs and versions: what is derived from text alone."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from etcdpy.cluster.ids import cluster_id, format_id, member_id, parse_id
from etcdpy.cluster.urls import (
    BadUrl,
    Url,
    check_bind_urls,
    check_host_urls,
    format_initial_cluster,
    parse_initial_cluster,
    parse_urls,
    url_difference,
)
from etcdpy.cluster.version import (
    BadVersion,
    Version,
    decide_cluster_version,
    is_too_old,
    minimum_version,
)

some = settings(derandomize=True, deadline=None, max_examples=200)


@pytest.mark.parametrize(
    ("urls", "token", "added_at", "member", "cluster"),
    [
        (["http://localhost:2380"], "etcd-cluster", None, "8e9e05c52164694d", "cdf818194e3a8c32"),
        (["http://127.0.0.1:32041"], "tok-s365", None, "5dc93e2626d6dae7", "ded15411079d72dc"),
        (["http://127.0.0.1:32011"], "tok-s34", None, "88bf17a5bb417a0f", "cba06cd29e802fd9"),
        (["http://127.0.0.1:32151"], "tv", None, "86a1416e22b1af21", "bd8e28e5e431c636"),
        (["http://127.0.0.1:33380"], "etcd-cluster", None, "5c76a90ae78bcee7", "536f0188ef2075ac"),
        (
            ["http://10.0.0.2:2380", "http://10.0.0.1:2380"],
            "etcd-cluster",
            1_700_000_000,
            "b3b3387bb5b0fa9c",
            None,
        ),
    ],
)
def test_ids(urls: list[str], token: str, added_at: int | None, member: str, cluster: str | None) -> None:
    identity = member_id(urls, token, added_at)
    assert format_id(identity) == member
    assert member_id(reversed(urls), token, added_at) == identity
    assert cluster is None or format_id(cluster_id([identity])) == cluster


def test_id_of_a_cluster_of_three() -> None:
    ids = [member_id([f"http://10.0.0.{number}:2380"], "etcd-cluster") for number in (3, 1, 2)]
    assert [format_id(identity) for identity in sorted(ids)] == [
        "3ebc01aec68d6d70",
        "ee274cacce804b21",
        "fe9c64eaf3991d47",
    ]
    assert format_id(cluster_id(ids)) == "cd11e86392339c47"


@some
@given(st.integers(min_value=0, max_value=2**64 - 1))
def test_ids_are_read_back(identity: int) -> None:
    assert parse_id(format_id(identity)) == identity


@pytest.mark.parametrize("text", ["", "0x1", "g", " 1", "-1", "1_0", "12345678901234567"])
def test_no_ids(text: str) -> None:
    with pytest.raises(ValueError, match="is not an id"):
        parse_id(text)


@pytest.mark.parametrize(
    ("text", "host", "port"),
    [
        ("http://127.0.0.1:2379", "127.0.0.1", 2379),
        (" HTTPS://[::1]:1 ", "::1", 1),
        ("http://:2379", "", 2379),
        ("http://localhost:", "localhost", 0),
        ("unix:///run/etcd.sock", "/run/etcd.sock", 0),
        ("unixs://localhost:2379", "localhost:2379", 0),
    ],
)
def test_urls(text: str, host: str, port: int) -> None:
    url = Url.parse(text)
    assert (url.host, url.port) == (host, port)
    assert url == text.strip().replace("HTTPS", "https")
    assert url.is_secure == text.strip().lower().startswith(("https", "unixs"))
    assert Url.parse(url) == url


@some
@given(st.text() | st.text(alphabet="http://[]:%@?#u ni1a.,", max_size=20))
def test_any_text_is_a_url_or_refused(text: str) -> None:
    try:
        url = Url.parse(text)
    except BadUrl:
        return
    assert Url.parse(url) == url
    assert url.port >= 0


def test_url_lists() -> None:
    assert parse_urls(["http://b:1", "http://a:1", "http://a:1"]) == ("http://a:1", "http://b:1")
    with pytest.raises(BadUrl, match="no valid URLs given"):
        parse_urls([])


def test_urls_to_bind_and_to_announce() -> None:
    good = ["http://127.0.0.1:1", "http://[::]:1", "http://localhost:1", "unix://x:1"]
    check_bind_urls(map(Url.parse, good))
    for bad in ("http://example.org:1", "http://:1", "http://[fe80::1%25eth0]:1"):
        with pytest.raises(BadUrl, match="expected IP in URL for binding"):
            check_bind_urls([Url.parse(bad)])
    check_host_urls([Url.parse("http://example.org:1")])
    with pytest.raises(BadUrl, match="unexpected empty host"):
        check_host_urls([Url.parse("http://:1")])


def test_initial_cluster() -> None:
    text = "a=http://127.0.0.1:2,b=http://127.0.0.1:3,,a=http://127.0.0.1:1"
    urls_by_name = parse_initial_cluster(text)
    assert urls_by_name == {
        "a": ("http://127.0.0.1:1", "http://127.0.0.1:2"),
        "b": ("http://127.0.0.1:3",),
    }
    assert parse_initial_cluster(format_initial_cluster(urls_by_name)) == urls_by_name
    assert parse_initial_cluster("") == {}
    with pytest.raises(BadUrl, match="URL scheme must be http"):
        parse_initial_cluster("a")


def test_url_difference() -> None:
    one, two = "http://one.test:1", "http://192.0.2.1:1"
    addresses = {one: two}
    assert url_difference([one], [one]) is None
    assert url_difference([one], [two], lambda url: addresses.get(url, url)) is None
    assert url_difference([one], [one, two]) == f'len(["{one}"]) != len(["{two}" "{one}"])'
    assert url_difference([one], [two]) == (
        f'"{one}"(resolved from "{one}") != "{two}"(resolved from "{two}")'
    )

    def fail(url: str) -> str:
        raise OSError(f"no such host {url}")

    assert url_difference([one], [two], fail) == f"failed to resolve no such host {one}"


@pytest.mark.parametrize(
    ("text", "version"),
    [
        ("3.6.5", Version(3, 6, 5)),
        ("3.6.0-alpha.0", Version(3, 6, 0, "alpha.0")),
        ("3.5.1+git", Version(3, 5, 1)),
    ],
)
def test_versions(text: str, version: Version) -> None:
    assert Version.parse(text) == version
    assert str(version) == text.partition("+")[0]


@pytest.mark.parametrize("text", ["", "3.6", "v3.6.0", "3.6.05", "3.6.x", "3.6.5-", "3.6.5\n", "٣.6.5"])
def test_no_versions(text: str) -> None:
    with pytest.raises(BadVersion):
        Version.parse(text)


def test_order_of_versions() -> None:
    texts = [
        "3.0.0",
        "3.5.0-alpha.2",
        "3.5.0-alpha.11",
        "3.5.0-rc",
        "3.5.0",
        "3.5.9",
        "3.5.10",
        "3.10.0",
        "4.0.0",
    ]
    versions = [Version.parse(text) for text in texts]
    assert all(low < high for low, high in pairwise(versions))


V35, V36, V37 = Version(3, 5), Version(3, 6), Version(3, 7)


@pytest.mark.parametrize(
    ("current", "members", "downgrade_to", "proposed"),
    [
        (None, ["3.6.5"], None, V36),
        (None, ["3.6.5", None], None, Version(3, 0)),
        (V35, ["3.6.5", "3.5.21", "3.6.1"], None, None),
        (V35, ["3.6.5", "3.6.1"], None, V36),
        (V35, ["3.6.5", None], None, None),
        (V36, ["3.5.1"], None, None),
        (V36, ["4.0.0"], None, None),
        (V36, ["3.6.5", "3.6.0"], V35, V35),
        (V36, ["3.6.5", "3.5.0"], V35, None),
        (V37, ["3.7.0"], V35, None),
        (V35, ["3.6.5"], V35, None),
    ],
)
def test_cluster_version(
    current: Version | None, members: list[str | None], downgrade_to: Version | None, proposed: Version | None
) -> None:
    minimum = minimum_version(None if text is None else Version.parse(text) for text in members)
    assert decide_cluster_version(current, minimum, downgrade_to) == proposed


def test_a_server_that_is_too_old() -> None:
    assert is_too_old(Version.parse("3.5.21"), V36)
    assert not is_too_old(Version.parse("3.6.0"), V36)
    assert not is_too_old(Version.parse("3.5.21"), None)
