# A worker (or beat) with the examples in it. For docker-compose.yml.
FROM python:3.12.12-slim-bookworm

ENV PYTHONUNBUFFERED=1 \
    PIP_NO_CACHE_DIR=1 \
    PIP_DISABLE_PIP_VERSION_CHECK=1

WORKDIR /app
COPY pyproject.toml README.md LICENSE ./
COPY trigger_celery trigger_celery
RUN pip install . && useradd --system --no-create-home worker
COPY examples examples
USER worker

CMD ["celery", "-A", "examples.hello", "worker", "--loglevel=info"]
