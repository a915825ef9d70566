# The web app on a processor, for a server:
#     docker build -t impasto . && docker run --rm -p 8501:8501 impasto
FROM python:3.12-slim

# uv knows where PyTorch's builds without CUDA are, which are a tenth of the size.
RUN pip install --no-cache-dir "uv>=0.8,<1"
WORKDIR /impasto
COPY pyproject.toml README.md LICENSE NOTICE ./
COPY src src
RUN uv pip install --system --no-cache --torch-backend cpu ".[app,video]" \
    && useradd --create-home --uid 1000 painter

USER 1000
WORKDIR /home/painter
EXPOSE 8501
HEALTHCHECK --interval=10s --timeout=5s --start-period=60s \
    CMD ["python", "-c", "import urllib.request as r; r.urlopen('http://localhost:8501/')"]
ENTRYPOINT ["impasto", "app", "--host", "0.0.0.0"]
