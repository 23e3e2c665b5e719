"""How often what was asked of a v2 store, as `/v2/stats/store` tells it.

Counted where etcd counts, with its oddities: a refused comparison of a delete, and most refusals to change
the root, are successes there. Each member counts for itself.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass


@dataclass(slots=True)
class Stats:
    """Counters since the member started; the names and their order are those of the JSON."""

    getsSuccess: int = 0  # noqa: N815  # the wire's names
    getsFail: int = 0  # noqa: N815
    setsSuccess: int = 0  # noqa: N815
    setsFail: int = 0  # noqa: N815
    deleteSuccess: int = 0  # noqa: N815
    deleteFail: int = 0  # noqa: N815
    updateSuccess: int = 0  # noqa: N815
    updateFail: int = 0  # noqa: N815
    createSuccess: int = 0  # noqa: N815
    createFail: int = 0  # noqa: N815
    compareAndSwapSuccess: int = 0  # noqa: N815
    compareAndSwapFail: int = 0  # noqa: N815
    compareAndDeleteSuccess: int = 0  # noqa: N815
    compareAndDeleteFail: int = 0  # noqa: N815
    expireCount: int = 0  # noqa: N815

    def count(self, what: str, *, success: bool) -> None:
        """Count an operation."""
        name = what + ("Success" if success else "Fail")
        setattr(self, name, getattr(self, name) + 1)

    def fields(self, watchers: int) -> dict[str, object]:
        """The JSON object."""
        return {**asdict(self), "watchers": watchers}
