# The operator console on Container Apps; azure.yaml builds this image from the repository's root.

# The chart library of the page. Only the workspace `console` is installed, without Azurite.
FROM node:22-slim AS page
WORKDIR /app
COPY package.json package-lock.json ./
COPY console/package.json console/
RUN npm ci --omit=dev --workspace=console --ignore-scripts --no-audit --no-fund

FROM python:3.13-slim

# Unbuffered logs; no bytecode, because the user `console` cannot write to the folder.
ENV PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1 PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1

RUN useradd --create-home --uid 10001 console
WORKDIR /app

# Requirements change less often than the code, so their layer comes first and stays cached.
COPY requirements.txt requirements-dev.txt requirements-console.txt ./
RUN pip install -r requirements-console.txt

COPY --from=page /app/node_modules/uplot/dist/ node_modules/uplot/dist/
COPY breaker/ breaker/
COPY processing/ processing/
COPY breakwater/ breakwater/
COPY console/ console/
# Your handler, which the console calls to redrive events; a handler in a folder needs a COPY line.
COPY *.py ./

USER console
EXPOSE 7090

# Checks the port, not /healthz, which returns 503 during a Redis outage.
HEALTHCHECK --interval=30s --timeout=5s --start-period=20s CMD ["python", "-c", "import socket; socket.create_connection(('127.0.0.1', 7090), 3).close()"]

# All settings are environment variables (infra/modules/console.bicep).
ENTRYPOINT ["python", "-m", "console", "--host", "0.0.0.0", "--port", "7090"]
