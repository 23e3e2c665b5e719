"""What a member counts of itself, and the text in which Prometheus reads it.

Every other room may count: plain integers in objects of its own, and `Histogram` for what has a size or takes
a time. Nothing is registered anywhere and nothing is locked; whoever joins the rooms collects what they have
counted into `Family` objects when somebody asks, and `exposition` writes those down.

The text is written here and not by `prometheus_client`: etcd has counters whose names do not end in `_total`
and gauges whose names do, which that package cannot tell apart, and a scrape of a thousand series holds up
everybody else for as long as it is being written.
"""

from etcdpy.metrics.exposition import CONTENT_TYPE, Family, exposition, labels
from etcdpy.metrics.histogram import Histogram, doubling

__all__ = ["CONTENT_TYPE", "Family", "Histogram", "doubling", "exposition", "labels"]
