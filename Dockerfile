# docker build -t raut .    Runs as nobody on a read-only file system, with the models inside.
FROM python:3.11.14-slim-bookworm AS packages
WORKDIR /packages
COPY requirements/serve.lock .
RUN python -m venv /opt/raut \
 && /opt/raut/bin/pip install --no-cache-dir --require-hashes -r serve.lock

FROM packages AS translations
WORKDIR /app
COPY translations translations
RUN /opt/raut/bin/pybabel compile -d translations

FROM python:3.11.14-slim-bookworm
COPY --from=packages /opt/raut /opt/raut
WORKDIR /app
COPY asgi.py wsgi.py gunicorn.conf.py CITATION.cff ./
COPY app app
COPY static static
COPY templates templates
COPY models models
COPY training/results training/results
COPY --from=translations /app/translations translations
ENV PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1 HOME=/nowhere
USER 65534:65534
EXPOSE 8000
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=5s --start-period=60s --retries=3 \
    CMD ["/opt/raut/bin/python", "-c", "from urllib.request import urlopen; urlopen('http://127.0.0.1:8000/healthz', timeout=4)"]
CMD ["/opt/raut/bin/python", "-m", "gunicorn", "--no-control-socket", "--bind", "0.0.0.0:8000", "asgi:app"]
