# The shared server in a container; see docs/operations.md. Build: docker build -t deepfm .
# PIP_OPTIONS may name an index with a build of torch for CPUs alone, which is a tenth of the size.
FROM python:3.11-slim

# One user without rights owns the store; the code stays root's, so that no visitor's file can change it.
RUN useradd --create-home --uid 10001 deepfm && install -d -o deepfm -g deepfm -m 700 /srv/deepfm

WORKDIR /app
COPY requirements.txt requirements.lock ./
ARG PIP_OPTIONS=""
RUN pip install --no-cache-dir $PIP_OPTIONS --requirement requirements.txt "psycopg[binary]"
COPY .streamlit .streamlit
COPY app app
COPY deepfm_core deepfm_core
COPY sample_data sample_data
COPY docs/privacy.md docs/

USER deepfm
ENV DEEPFM_HOME=/srv/deepfm DEEPFM_PRIVATE=1 DEEPFM_LOG=json PORT=8501 PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1
VOLUME /srv/deepfm
EXPOSE 8501

# 0 or 1: the server answers, the store can be written, the disk has room, and runs do not wait for nobody.
HEALTHCHECK --interval=30s --timeout=15s --start-period=60s \
    CMD python -m deepfm_core health --server "http://127.0.0.1:$PORT"

# As in Procfile. The server starts its own workers; told to end, they put their run back into the queue.
CMD ["sh", "-c", "exec streamlit run app/server.py --server.port=$PORT --server.address=0.0.0.0 --server.headless=true --browser.serverAddress=localhost"]
