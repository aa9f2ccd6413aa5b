#!/usr/bin/env bash
# Builds what is measured, measures it and prints the report. See README.md.
#
#   bench/gateway/run.sh [--install-peers] [--only NAMES] [any option of `bench.py run`]
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
repo=$(cd "$here/../.." && pwd)
export GWBENCH_TMP=${GWBENCH_TMP:-${TMPDIR:-/tmp}/gwbench}
export GWBENCH_PEERS=${GWBENCH_PEERS:-${TMPDIR:-/tmp}/peers}
only=ours,ours-noevents,ours-policies,ours-1k,ours-100k,nginx,haproxy

install_peers() {
  # RUNLEVEL=1: the packages would otherwise start their services
  RUNLEVEL=1 apt-get install -y --no-install-recommends nginx haproxy wrk
  python3 -m venv "$GWBENCH_PEERS/litellm-venv"
  "$GWBENCH_PEERS/litellm-venv/bin/pip" install -q 'litellm[proxy]==1.106.2'
  mkdir -p "$GWBENCH_PEERS/portkey"
  # the versions of hono are those of Portkey's own lock file: with newer ones its streams end in a 500
  (cd "$GWBENCH_PEERS/portkey" && npm init -y >/dev/null && npm install --save-exact \
    @portkey-ai/gateway@1.15.2 @hono/node-server@1.13.5 hono@4.9.7 @hono/node-ws@1.2.0)
}

options=()
while (($#)); do
  case $1 in
    --install-peers) install_peers ;;
    --only) only=$2; shift ;;
    -h | --help) sed -n '2,4s/^# \{0,1\}//p' "$0"; exit ;;
    *) options+=("$1") ;;
  esac
  shift
done

if [[ $only == *ours* && -z ${GWBENCH_KT:-} ]]; then
  (cd "$repo" && cargo build --release --bin kt)
fi
CARGO_TARGET_DIR=$GWBENCH_TMP/target cargo build --release --manifest-path "$here/tools/Cargo.toml"
python3 "$here/mkbodies.py"
python3 "$here/mklists.py"

mkdir -p "$GWBENCH_TMP/results"
results=$GWBENCH_TMP/results/$(date +%Y%m%d-%H%M%S)
python3 "$here/bench.py" run --only "$only" --out "$results.jsonl" "${options[@]}"
python3 "$here/bench.py" startup --only "$only" --out "$results.jsonl"
python3 "$here/report.py" "$results.jsonl" | tee "$results.md"
echo
echo "kept: $results.jsonl and $results.md"
