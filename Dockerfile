# The server, small and without privileges: docker build -t ecross-server:0.1.0 .
# The root file system may be read-only; everything that is written lies in the volume /var/lib/ecross.

FROM python:3.13-slim-bookworm AS build
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
WORKDIR /build
RUN python -m venv /opt/ecross
COPY requirements/serve.txt requirements/serve.txt
RUN /opt/ecross/bin/pip install --no-deps --require-hashes -r requirements/serve.txt
COPY packages packages
RUN /opt/ecross/bin/pip install --no-deps --no-build-isolation ./packages/sdk ./packages/server \
    && /opt/ecross/bin/pip uninstall --yes editables hatchling pip \
    && /opt/ecross/bin/python -m compileall -q /opt/ecross/lib

FROM python:3.13-slim-bookworm
RUN groupadd --gid 10001 ecross \
    && useradd --uid 10001 --gid 10001 --no-create-home --home-dir /var/lib/ecross --shell /usr/sbin/nologin ecross \
    && install --directory --owner=10001 --group=10001 --mode=0700 /var/lib/ecross
COPY --from=build /opt/ecross /opt/ecross
ENV PATH=/opt/ecross/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    ECROSS_SERVER_DATA_DIR=/var/lib/ecross \
    ECROSS_SERVER_HOST=0.0.0.0 \
    ECROSS_SERVER_LOG_FORMAT=json
VOLUME /var/lib/ecross
USER 10001:10001
EXPOSE 8000
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=5s --start-period=20s --retries=3 \
    CMD ["python", "-c", "from urllib.request import urlopen; urlopen('http://127.0.0.1:8000/health/live', timeout=3)"]
ENTRYPOINT ["ecross-server"]
CMD ["serve"]
