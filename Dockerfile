# The trained model on photographs, with onnxruntime alone: no PyTorch. docs/prediction.md says how it is used.
#   python -m pipeline export --onnx generator.onnx && docker build --tag posenet .
FROM debian:12-slim AS python
RUN apt-get update \
 && apt-get install --yes --no-install-recommends python3 \
 && apt-get clean && rm -rf /var/lib/apt/lists/*

FROM python AS installed
RUN apt-get update && apt-get install --yes --no-install-recommends python3-venv
COPY . /source
# As light as `pip install .` is, in the versions that are tested together.
RUN python3 -m venv /opt/posenet \
 && sed '/--hash/d; s/ *\\$//' /source/requirements.txt > /versions.txt \
 && /opt/posenet/bin/pip install --no-cache-dir --no-compile --constraint /versions.txt /source \
 && /opt/posenet/bin/pip uninstall --yes setuptools pip \
 && find /opt/posenet \( -name tests -o -name __pycache__ \) -prune -exec rm -r {} + \
 && mkdir /opt/posenet/models && cp /source/*.onnx /opt/posenet/models/

FROM python
COPY --from=installed /opt/posenet /opt/posenet
USER nobody
WORKDIR /photographs
ENTRYPOINT ["/opt/posenet/bin/adversarial-posenet"]
CMD ["predict", "/photographs", "--weights", "/opt/posenet/models/generator.onnx", "--out", "/found"]
