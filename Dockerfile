# CUDA comes with PyTorch's own wheels; the host brings the driver (docker run --gpus all --shm-size=8g ...).
FROM python:3.12-slim
# LightGBM's wheel links the system's OpenMP.
RUN apt-get update && apt-get install -y --no-install-recommends libgomp1 && rm -rf /var/lib/apt/lists/*
RUN useradd --create-home --uid 1000 aln
WORKDIR /home/aln/mammo_aln
COPY --chown=aln pyproject.toml requirements.lock README.md LICENSE ./
# The lock's packages before the sources, so that a change of the sources installs none of them anew.
RUN pip install --no-cache-dir --require-hashes -r requirements.lock
COPY --chown=aln mammo_aln mammo_aln
COPY --chown=aln configs configs
RUN pip install --no-cache-dir --no-deps .
USER aln
WORKDIR /home/aln
ENV NVIDIA_VISIBLE_DEVICES=all NVIDIA_DRIVER_CAPABILITIES=compute,utility
ENTRYPOINT ["mammo-aln"]
CMD ["--help"]
