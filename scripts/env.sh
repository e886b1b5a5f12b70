# The environment of every build; sourced by the Makefile and by .ci/run, so that they share one set of artefacts.
# shellcheck shell=bash

# Outside the clone: a second clone, or a clean one, does not build the stack again.
export CARGO_TARGET_DIR="${CARGO_TARGET_DIR:-$HOME/.cache/lockstep/target}"

# RocksDB is some 340 C++ files; ccache keeps their objects when the target directory goes.
if command -v ccache >/dev/null 2>&1; then
  export CC="${CC:-ccache gcc}" CXX="${CXX:-ccache g++}"
fi

# rustup's default place, for shells that have not read its profile.
command -v cargo >/dev/null 2>&1 || PATH="$HOME/.cargo/bin:$PATH"
