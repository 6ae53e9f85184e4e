# The operator console; built from the repository's root (azure.yaml), runs on Container Apps.

# The chart library of the page. The workspace leaves out Azurite, which only the local stack needs.
FROM node:22-slim AS page
WORKDIR /app
COPY package.json package-lock.json ./
COPY console/package.json console/
RUN npm ci --omit=dev --workspace=console --ignore-scripts --no-audit --no-fund

FROM python:3.13-slim

# Log lines as they come; no bytecode into a folder that is not ours.
ENV PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1 PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1

RUN useradd --create-home --uid 10001 console
WORKDIR /app

# Requirements first: they change less often than the code, and their layer is kept.
COPY requirements.txt requirements-dev.txt requirements-console.txt ./
RUN pip install -r requirements-console.txt

COPY --from=page /app/node_modules/uplot/dist/ node_modules/uplot/dist/
COPY breaker/ breaker/
COPY processing/ processing/
COPY console/ console/
# Your handler, which redriving from the page calls; one in a folder takes a line of its own.
COPY *.py ./

USER console
EXPOSE 7090

# Whether it listens: /healthz answers 503 while Redis is away, and the container is not to blame.
HEALTHCHECK --interval=30s --timeout=5s --start-period=20s CMD ["python", "-c", "import socket; socket.create_connection(('127.0.0.1', 7090), 3).close()"]

# All settings come from the environment (infra/modules/console.bicep).
ENTRYPOINT ["python", "-m", "console", "--host", "0.0.0.0", "--port", "7090"]
