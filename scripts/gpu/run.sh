#!/usr/bin/env bash
# The agreement suite and the benchmark on this machine's GPU, from a folder that holds everything it needs.
#
#   ./run.sh [FOLDER]    results go there (results/ beside this script); exit status 0 only if everything agreed
#
# It needs a driver with Vulkan and its loader (libvulkan.so.1), and nothing else; with python3 and torch, torch is timed
# in the same run. Settings, from the environment:
#
#   ROWS, COLUMNS, MAX_VALUES, SECONDS_EACH    the grid, and how long each backend is measured in each cell
#   SOFTWARE=1                                 let a software adapter count (to try the folder out)
set -uo pipefail

here=$(cd "$(dirname "$0")" && pwd)
results=${1:-$here/results}
mkdir -p "$results" || exit 74
results=$(cd "$results" && pwd)
# Costs are measured anew and stay with the results.
export MILLSTREAM_CACHE="$results/costs"
grid=(--rows "${ROWS:-1e3,1e4,1e5,1e6,4e6}" --columns "${COLUMNS:-8,64,256}" --max-values "${MAX_VALUES:-67108864}"
    --seconds "${SECONDS_EACH:-0.3}")
software=()
if [ "${SOFTWARE:-}" = 1 ]; then
    software=(--software-adapter)
fi
status=0

echo "=== the machine"
"$here/millstream" devices "${software[@]}" | tee "$results/devices.txt" || status=1
"$here/millstream" devices "${software[@]}" --format json >"$results/devices.json" || status=1

echo
echo "=== agreement with the exact answers"
# Nothing is skipped for want of a GPU.
if ! MILLSTREAM_REQUIRE_GPU=1 MILLSTREAM_TEST_DATA="$here/data" "$here/agreement" gpu 2>&1 | tee "$results/agreement.txt"; then
    status=1
fi
if ! grep -Eq '^test result: ok\. [1-9]' "$results/agreement.txt"; then
    echo "the agreement suite did not pass" >&2
    status=1
fi

echo
echo "=== every summary on every backend"
if ! "$here/millstream" bench --backends cpu,gpu "${software[@]}" "${grid[@]}" -o "$results/bench.json" |
    tee "$results/bench.txt"; then
    status=1
fi

if command -v python3 >/dev/null && python3 -c 'import torch' 2>/dev/null; then
    echo
    echo "=== torch on the same rows"
    if python3 "$here/peers/torch_bench.py" "${grid[@]}" >"$results/torch.jsonl" && [ -s "$results/bench.json" ]; then
        python3 "$here/peers/compare.py" "$results/bench.json" "$results/torch.jsonl" "$results/compared.json" |
            tee "$results/compared.txt" || status=1
    else
        echo "torch could not be timed" >&2
    fi
else
    echo
    echo "torch is not installed for python3 here, so it is not compared with"
fi

echo
echo "results: $results"
exit "$status"
