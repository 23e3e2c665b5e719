"""The descriptor pool that holds our messages, apart from the process-wide one.

Every Python client of etcd brings its own `etcdserverpb`; see `protos/generate.py`.
"""

from google.protobuf.descriptor_pool import DescriptorPool

POOL = DescriptorPool()
