"""What we call ourselves on the wire, and the version of this package."""

__version__ = "0.1.0"

# The release of etcd whose behaviour we answer with: `version` of Status, `/version`, X-Server-Version.
ETCD_VERSION = "3.6.5"
# Oldest cluster version we can be a member of (X-Min-Cluster-Version).
MIN_CLUSTER_VERSION = "3.0.0"
