# The large image has the compiler that makes the hot rooms faster.
FROM python:3.11 AS build
WORKDIR /src
COPY pyproject.toml setup.py README.md ./
COPY etcdpy ./etcdpy
RUN ETCDPY_PURE=0 pip wheel --no-cache-dir --wheel-dir /wheels .

FROM python:3.11-slim
COPY --from=build /wheels /wheels
RUN pip install --no-cache-dir --no-index --find-links /wheels etcdpy && rm -rf /wheels \
    && useradd --system --home /var/lib/etcd etcd && install -d -m 700 -o etcd /var/lib/etcd
USER etcd
ENV ETCD_DATA_DIR=/var/lib/etcd \
    ETCD_LISTEN_CLIENT_URLS=http://0.0.0.0:2379 \
    ETCD_ADVERTISE_CLIENT_URLS=http://0.0.0.0:2379
EXPOSE 2379 2380
VOLUME /var/lib/etcd
ENTRYPOINT ["python", "-m", "etcdpy.container"]
