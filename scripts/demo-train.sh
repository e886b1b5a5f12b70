#!/usr/bin/env bash
# Training sets on the flights of 2013: the same features by a nightly job in SQL and by Lockstep, and what a model comes to. Everything it writes goes below target/flights-train.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
# shellcheck source=scripts/env.sh
. scripts/env.sh

printf '\n== building\n'
cargo build --release --workspace --bins --examples
LOCKSTEP="$CARGO_TARGET_DIR/release/lockstep" examples/flights/compare/run.sh target/flights-train
