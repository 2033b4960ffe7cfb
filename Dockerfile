# The command bidsplan, for a user without rights, in an environment with neither pip nor the source:
#
#     docker build --tag bidsplan .
#     docker run --rm --user "$(id -u):$(id -g)" --volume "$PWD:/data" bidsplan fetch study.yaml dataset
FROM python:3.13-slim-trixie AS build
COPY pyproject.toml README.md LICENSE /source/
COPY src /source/src
RUN python -m venv --without-pip /opt/bidsplan \
    && python -m pip --python /opt/bidsplan/bin/python install --no-cache-dir /source

FROM python:3.13-slim-trixie
LABEL org.opencontainers.image.title="bidsplan" \
      org.opencontainers.image.licenses="BSD-3-Clause" \
      org.opencontainers.image.source="https://github.com/OWNER/bidsplan"
RUN useradd --create-home --uid 1000 bidsplan
COPY --from=build /opt/bidsplan /opt/bidsplan
ENV PATH="/opt/bidsplan/bin:$PATH"
USER 1000
WORKDIR /data
ENTRYPOINT ["bidsplan"]
CMD ["--help"]
