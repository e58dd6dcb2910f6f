#!/usr/bin/env bash
# All that a GPU has to show, in at most eight minutes beside making an environment: tests on the device, bf16, attention, processes, speed, memory.
set -euo pipefail
usage() {
  cat <<'TEXT'
Usage: benchmarks/gpu.sh [--out DIR] [--wheels DIR | --python PATH] [--model DIR] [--cpu] [--only PART,PART]

Runs every part with a time limit of its own, eight minutes for all; one that fails does not stop the next. At the end a table, and in DIR
one log a part and figures.json with the device, the versions and every part's state.

  --out DIR      where logs and figures go (default: gpu-figures)
  --wheels DIR   make an environment from this folder of wheels, without an index, and use it; on a machine like it
                 with an index: pip wheel torch '.[dev,offline,lora,pydocs]' --wheel-dir DIR
  --python PATH  use this Python, which has embedkit's dependencies (default: .venv/bin/python, else python3)
  --model DIR    the encoder of all parts but the tests (default: all-MiniLM-L6-v2)
  --cpu          the same parts on the CPU with the smallest sizes: a trial of the script, no measurement
  --only PARTS   some parts, by name: tests, step, step-bf16, step-flash, encode, memory, train, nccl
TEXT
}
fail() { echo "gpu.sh: $1; see benchmarks/gpu.sh --help" >&2; exit 2; }
value() { [[ $# -ge 2 && $2 != --* ]] || fail "$1 needs a value"; }

out=gpu-figures wheels='' python='' rest=()
while (($#)); do
  case $1 in
    --out) value "$@"; out=$2; shift 2 ;;
    --wheels) value "$@"; wheels=$2; shift 2 ;;
    --python) value "$@"; python=$2; shift 2 ;;
    --model) value "$@"; rest+=(--model "$2"); shift 2 ;;
    --only) value "$@"; rest+=(--only "$2"); shift 2 ;;
    --cpu) rest+=(--cpu); shift ;;
    -h | --help) usage; exit 0 ;;
    *) fail "unknown argument $1" ;;
  esac
done
[[ -z $wheels || -z $python ]] || fail "--wheels and --python exclude each other"
[[ -z $wheels || -d $wheels ]] || fail "there is no folder $wheels"
mkdir -p "$out"
out=$(cd "$out" && pwd)
[[ -z $wheels ]] || wheels=$(cd "$wheels" && pwd)
cd "$(dirname "${BASH_SOURCE[0]}")/.."
if [[ -n $wheels ]]; then
  python3 -m venv "$out/venv"
  python=$out/venv/bin/python
  "$python" -m pip install --quiet --no-index --find-links "$wheels" 'embedkit-train[dev,offline,lora,pydocs]'
fi
if [[ -z $python ]]; then
  python=.venv/bin/python
  [[ -x $python ]] || python=python3
fi
command -v "$python" >/dev/null || fail "there is no Python at $python"
exec env PYTHONPATH="$PWD" "$python" benchmarks/gpu.py --out "$out" ${rest[@]+"${rest[@]}"}
