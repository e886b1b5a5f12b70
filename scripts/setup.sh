#!/usr/bin/env bash
# Installs what the build needs and Cargo cannot bring: a C++ compiler, libclang with its own headers, with which
# bindgen reads RocksDB's C interface, and OpenSSL's headers, for librdkafka. With LOCKSTEP_SETUP_TESTS set, also what the
# tests on a Kafka broker need, Java and Maven, a browser for those of the page, and ONNX Runtime's library, for models that need it. Silent and quick when nothing is missing; without the right to install,
# says in one line what to install and fails.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
# shellcheck source=scripts/env.sh
. scripts/env.sh

log="$HOME/.cache/lockstep/setup.log"
ccache_tried="$HOME/.cache/lockstep/ccache-tried"

have() { command -v "$1" >/dev/null 2>&1; }
any_file() { compgen -G "$1" >/dev/null; }

# The places and names in which clang-sys looks for the library at run time.
have_libclang() {
  local directory
  for directory in ${LIBCLANG_PATH:+"$LIBCLANG_PATH"} /usr/lib/llvm-*/lib /usr/lib/*-linux-gnu* /usr/lib64 /usr/lib /usr/local/lib*; do
    if any_file "$directory/libclang.so*" || any_file "$directory/libclang-[0-9]*.so*"; then return 0; fi
  done
  [[ -f ${LIBCLANG_PATH:-} ]]
}

# stddef.h and its like belong to the compiler, not to the C library; without them bindgen stops at the first include.
have_libclang_headers() {
  [[ -n ${BINDGEN_EXTRA_CLANG_ARGS:-} ]] || any_file "/usr/lib/llvm-*/lib/clang/*/include/stddef.h" ||
    any_file "/usr/lib*/clang/*/include/stddef.h" || any_file "/usr/local/lib*/clang/*/include/stddef.h"
}

have_bindgen_needs() { have_libclang && have_libclang_headers; }

have_openssl_headers() { [[ -n ${OPENSSL_DIR:-} ]] || { have pkg-config && pkg-config --exists openssl; }; }

# What tests need is no matter to who only builds.
tests_lack() { [[ -n ${LOCKSTEP_SETUP_TESTS:-} ]] && ! have "$1"; }

# Prints how to become root, `env` if we are; fails if we may not.
as_root() {
  if [[ $(id -u) == 0 ]]; then
    echo env
  elif have sudo && sudo -n true 2>/dev/null; then
    echo "sudo -n env"
  else
    return 1
  fi
}

may_install() { as_root >/dev/null && have apt-get; }

# The distribution's own LLVM release: 14 on Debian 12, 18 on Ubuntu 24.04. The split packages take a third of libclang-dev.
libclang_packages() {
  local release
  release=$(apt-cache depends libclang-dev 2>/dev/null | sed -n 's/.*Depends: libclang-\([0-9]*\)-dev.*/\1/p' | head -n 1)
  if [[ -n $release ]]; then
    printf '%s\n' "libclang1-$release" "libclang-common-$release-dev"
  else
    echo libclang-dev
  fi
}

apt_install() {
  # Waits for another apt, since machines that have just booted often run one.
  $(as_root) DEBIAN_FRONTEND=noninteractive apt-get -o DPkg::Lock::Timeout=300 "$@" >>"$log" 2>&1
}

fail() {
  echo "setup: $*" >&2
  exit 1
}

missing=()
find_missing() {
  have g++ || missing+=("a C++ compiler")
  have make || missing+=("make")
  have_bindgen_needs || missing+=("libclang with its headers")
  have_openssl_headers || missing+=("OpenSSL's headers")
  if tests_lack java; then missing+=("Java"); fi
  if tests_lack mvn; then missing+=("Maven"); fi
  if tests_lack chromedriver; then missing+=("Chromium and its driver"); fi
}

packages_for_missing() {
  have g++ || echo g++
  have make || echo make
  have_bindgen_needs || libclang_packages
  have_openssl_headers || printf '%s\n' libssl-dev pkg-config
  if tests_lack java; then echo default-jre-headless; fi
  if tests_lack mvn; then echo maven; fi
  if tests_lack chromedriver; then printf '%s\n' chromium chromium-driver; fi
}

install_missing() {
  echo "setup: installing $1" >&2
  : >"$log"
  # An update that fails may still leave lists that are good enough.
  apt_install update || true
  local packages
  mapfile -t packages < <(packages_for_missing)
  apt_install install -y --no-install-recommends "${packages[@]}" ||
    fail "could not install ${packages[*]}: see $log, or install them by hand"
}

# Only saves time, so that a machine without it is asked once and never told.
install_ccache() {
  if [[ -e $ccache_tried ]] || ! may_install; then return 0; fi
  touch "$ccache_tried"
  local attempt=(install -y --no-install-recommends ccache)
  apt_install "${attempt[@]}" || { apt_install update && apt_install "${attempt[@]}"; } || true
}

mkdir -p "$(dirname "$log")"
have cargo || fail "cargo is missing: install a Rust toolchain, $(sed -n 's/^rust-version = "\(.*\)"/\1/p' Cargo.toml) or newer (https://rustup.rs)"
find_missing
if [[ ${#missing[@]} -gt 0 ]]; then
  printf -v what '%s, ' "${missing[@]}"
  may_install || fail "missing: ${what%, }: as root, apt-get install $(packages_for_missing | paste -sd ' ')"
  install_missing "${what%, }"
fi
have ccache || install_ccache
if [[ -n ${LOCKSTEP_SETUP_TESTS:-} ]]; then scripts/onnxruntime.sh; fi
