#!/usr/bin/env bash
# The demo. Everything it writes goes below target/flights.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
# shellcheck source=scripts/env.sh
. scripts/env.sh

cargo run --quiet --release -p lockstep --example flights_stream
