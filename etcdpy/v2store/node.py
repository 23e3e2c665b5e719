"""A node of the tree: a directory with children, or a key with a value."""

from __future__ import annotations

from etcdpy.v2store.events import NodeView, seconds_left


class Node:
    """One path. `children` is None for a key, `expire_ns` 0 for what stays, `row` its place in the bucket."""

    __slots__ = (
        "children", "created_index", "expire_ns", "modified_index", "parent", "path", "row", "value",
    )  # fmt: skip

    def __init__(
        self,
        path: str,
        created_index: int,
        modified_index: int,
        *,
        value: str | None,
        parent: Node | None,
        expire_ns: int = 0,
        row: int = 0,
    ) -> None:
        self.path = path
        self.created_index = created_index
        self.modified_index = modified_index
        self.value = "" if value is None else value
        self.children: dict[str, Node] | None = {} if value is None else None
        self.parent = parent
        self.expire_ns = expire_ns
        self.row = row

    @property
    def is_dir(self) -> bool:
        """Whether it can have children."""
        return self.children is not None

    @property
    def name(self) -> str:
        """Last component of the path."""
        return self.path.rpartition("/")[2]

    def view(self, now_ns: int, *, recursive: bool = False, is_sorted: bool = False) -> NodeView:
        """The node for others; with `recursive` and all below that is not hidden."""
        view = NodeView(self.path, self.modified_index, self.created_index)
        if self.expire_ns:
            view.expire_ns = self.expire_ns
            view.ttl = seconds_left(self.expire_ns, now_ns)
        if self.children is None:
            view.value = self.value
        else:
            view.is_dir = True
            if recursive:
                view.nodes = self.listing(now_ns, recursive=True, is_sorted=is_sorted)
        return view

    def listing(self, now_ns: int, *, recursive: bool, is_sorted: bool) -> list[NodeView]:
        """What is in a directory, but for hidden names."""
        assert self.children is not None, f"{self.path} is no directory"
        nodes = [
            child.view(now_ns, recursive=recursive, is_sorted=is_sorted)
            for name, child in self.children.items()
            if not name.startswith("_")
        ]
        if is_sorted:
            nodes.sort(key=lambda node: node.key.encode("utf-8", "surrogatepass"))
        return nodes

    def below(self) -> list[Node]:
        """Everything below, what is in a directory before the directory."""
        found: list[Node] = []
        rest = list((self.children or {}).values())
        while rest:
            node = rest.pop()
            found.append(node)
            rest.extend((node.children or {}).values())
        found.reverse()
        return found
