#!/usr/bin/env bash
# Fetches ONNX Runtime's library, which runs the models that the other runtimes cannot: from its wheel, by pip, so that the machine's own index is asked.
# It goes to ~/.cache/lockstep/onnxruntime, where the binary looks for it. Silent and quick when it is there.
set -euo pipefail

version=1.32.0
to="$HOME/.cache/lockstep/onnxruntime"
library="$to/libonnxruntime.so"

fail() {
  echo "onnxruntime: $*" >&2
  exit 1
}

if [[ -f $library && $(cat "$to/VERSION" 2>/dev/null) == "$version" ]]; then exit 0; fi
python3 -m pip --version >/dev/null 2>&1 ||
  fail "python3 with pip is missing: install it, or put libonnxruntime.so $version or newer at $library, or where LOCKSTEP_ONNXRUNTIME says"

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
echo "onnxruntime: fetching $version" >&2
python3 -m pip download --quiet --disable-pip-version-check --no-deps --only-binary :all: --dest "$work" "onnxruntime==$version" >&2 ||
  fail "pip could not download onnxruntime $version: put libonnxruntime.so $version or newer at $library, or where LOCKSTEP_ONNXRUNTIME says"
python3 -m zipfile -e "$work"/onnxruntime-*.whl "$work/wheel"
found=$(find "$work/wheel" -name 'libonnxruntime.so*' -type f | head -n 1)
[[ -n $found ]] || fail "there is no libonnxruntime.so in the wheel of $version"
mkdir -p "$to"
# Under another name first: what is there is whole.
install -m 644 "$found" "$library.new"
mv "$library.new" "$library"
echo "$version" >"$to/VERSION"
