"""What a program does with etcd3gw, which speaks to the JSON gateway."""

import json
import sys
import threading

import requests
from etcd3gw import client as connect


def keys_and_values(client):
    assert client.put("gw/k", "v")
    assert client.get("gw/k") == [b"v"]
    value, metadata = client.get("gw/k", metadata=True)[0]
    assert (value, metadata["key"], metadata["version"]) == (b"v", b"gw/k", "1"), metadata
    for number in range(10):
        client.put(f"gw/many/{number}", str(number))
    found = client.get_prefix("gw/many/", sort_order="descend", sort_target="key")
    assert [value for value, _ in found] == [b"%d" % number for number in reversed(range(10))]
    assert client.delete_prefix("gw/many/")
    assert client.get_prefix("gw/many/") == []
    assert client.create("gw/new", "1")
    assert not client.create("gw/new", "2")
    assert client.replace("gw/new", "1", "3")
    assert not client.replace("gw/new", "1", "4")
    assert client.get("gw/new") == [b"3"]
    assert client.delete("gw/new")
    assert not client.delete("gw/new")


def transactions(client):
    client.put("gw/t", "1")
    key = "Z3cvdA=="
    done = client.transaction(
        {
            "compare": [{"key": key, "result": "EQUAL", "target": "VALUE", "value": "MQ=="}],
            "success": [{"request_put": {"key": key, "value": "Mg=="}}],
            "failure": [{"request_delete_range": {"key": key}}],
        }
    )
    assert done["succeeded"] is True, done
    assert client.get("gw/t") == [b"2"]


def watching(client):
    events, cancel = client.watch_prefix("gw/w")
    for value in ("a", "b"):
        client.put("gw/w1", value)
    client.delete("gw/w1")
    seen = [next(events) for _ in range(3)]
    cancel()
    assert [event["kv"].get("value") for event in seen] == [b"a", b"b", None], seen
    assert seen[2]["type"] == "DELETE", seen
    timer = threading.Timer(0.3, lambda: client.put("gw/once", "here"))
    timer.start()
    assert client.watch_once("gw/once", timeout=20)["kv"]["value"] == b"here"
    timer.join()


def leases_and_locks(client):
    lease = client.lease(ttl=30)
    client.put("gw/leased", "1", lease=lease)
    assert 0 < lease.ttl() <= 30
    assert lease.refresh() == 30
    assert lease.keys() == [b"gw/leased"]
    assert lease.revoke()
    assert client.get("gw/leased") == []
    with client.lock("gw", ttl=30) as lock:
        assert lock.is_acquired()
        assert not client.lock("gw", ttl=30).acquire()
    assert not lock.is_acquired()


def the_cluster(client):
    assert client.status()["version"]
    assert len(client.members()) in (1, 3)


def main():
    where = json.loads(sys.argv[1])
    session = requests.Session()
    session.trust_env = False  # an authority named in the environment would win over ours
    if "ca" in where:
        session.verify, session.cert = where["ca"], (where["cert"], where["key"])
    protocol = "https" if "ca" in where else "http"
    client = connect(host=where["host"], port=where["port"], protocol=protocol, timeout=20, session=session)
    for step in (keys_and_values, transactions, watching, leases_and_locks, the_cluster):
        step(client)
        sys.stdout.write(f"done: {step.__name__}\n")


main()
