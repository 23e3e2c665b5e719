from etcdpy.server.compactor import Compactor
from etcdpy.server.log import Logger


def test_periodic_mode_compacts_to_the_revision_of_a_period_ago() -> None:
    compactor = Compactor("periodic", 100.0, Logger.silent())
    found = {}
    for second in range(211):
        target = compactor.due(float(second), revision=second)
        if target is not None:
            found[second] = target
            compactor.finished(float(second), target, None)
    assert found[110] == 10
    assert found[200] == 100
    assert all(second - target == 100 for second, target in found.items())


def test_revision_mode_keeps_the_last_revisions() -> None:
    compactor = Compactor("revision", 1000, Logger.silent())
    assert compactor.due(0.0, 5000) is None
    assert compactor.due(299.0, 5000) is None
    assert compactor.due(300.0, 5000) == 4000
    compactor.finished(300.0, 4000, None)
    assert compactor.due(600.0, 5000) is None, "nothing new to compact"


def test_zero_retention_never_compacts() -> None:
    compactor = Compactor("periodic", 0, Logger.silent())
    assert all(compactor.due(now * 1000.0, 10**6) is None for now in range(100))


def test_one_compaction_at_a_time() -> None:
    compactor = Compactor("revision", 10, Logger.silent())
    compactor.due(0.0, 100)
    assert compactor.due(300.0, 100) == 90
    assert compactor.due(600.0, 200) is None
    compactor.finished(601.0, 90, None)
    assert compactor.due(900.0, 200) == 190
